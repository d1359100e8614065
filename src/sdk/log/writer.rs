//! Bytes as programs write them, cut into lines.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::{LINE_BYTES_MAX, Log};
use crate::proto::runner::v1::{LogLine, LogSource};

/// Read at once.
const READ_BYTES: usize = 64 << 10;

/// Writes to a log: a line ends at each newline, and the last one at the shutdown. Writing waits for room as lines do.
pub struct LogWriter {
    log: Log,
    source: LogSource,
    /// What has no newline yet.
    begun: BytesMut,
    /// Lines that wait for room.
    adding: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

// === impl LogWriter ===

impl LogWriter {
    pub(super) fn new(log: Log, source: LogSource) -> Self {
        Self { log, source, begun: BytesMut::new(), adding: None }
    }

    /// Everything that `from` has, up to its end.
    ///
    /// # Errors
    /// If `from` can't be read any further; the lines before are taken.
    pub async fn take(mut self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut read = BytesMut::with_capacity(READ_BYTES);
        let result = loop {
            read.reserve(READ_BYTES);
            match from.read_buf(&mut read).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            for line in self.lines(&read.split().freeze()) {
                self.log.add(line).await;
            }
        };
        if let Some(line) = self.last() {
            self.log.add(line).await;
        }
        result
    }

    /// The lines that end within `bytes`.
    fn lines(&mut self, bytes: &Bytes) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut start = 0;
        while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
            let end = start + length;
            let text = match self.begun.is_empty() {
                true => bytes.slice(start..end),
                false => {
                    self.begun.extend_from_slice(&bytes[start..end]);
                    self.begun.split().freeze()
                }
            };
            lines.push(self.line(text));
            start = end + 1;
        }
        self.begun.extend_from_slice(&bytes[start..]);
        // A line that is longer is broken here.
        while self.begun.len() > LINE_BYTES_MAX {
            let text = self.begun.split_to(LINE_BYTES_MAX).freeze();
            lines.push(self.line(text));
        }
        lines
    }

    fn last(&mut self) -> Option<LogLine> {
        (!self.begun.is_empty()).then(|| self.begun.split().freeze()).map(|text| self.line(text))
    }

    fn line(&self, text: Bytes) -> LogLine {
        LogLine { source: self.source.into(), text, ..LogLine::default() }
    }

    fn begin_adding(&mut self, lines: Vec<LogLine>) {
        if !lines.is_empty() {
            let log = self.log.clone();
            self.adding = Some(Box::pin(async move {
                for line in lines {
                    log.add(line).await;
                }
            }));
        }
    }

    fn poll_added(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(adding) = &mut self.adding {
            ready!(adding.as_mut().poll(cx));
            self.adding = None;
        }
        Poll::Ready(())
    }
}

impl AsyncWrite for LogWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_added(cx));
        let taken = bytes.len().min(READ_BYTES);
        let lines = self.lines(&Bytes::copy_from_slice(&bytes[..taken]));
        self.begin_adding(lines);
        Poll::Ready(Ok(taken))
    }

    /// What has no newline yet stays: it may go on.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_added(cx).map(Ok)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_added(cx));
        let last = self.last();
        self.begin_adding(last.into_iter().collect());
        self.poll_added(cx).map(Ok)
    }
}
