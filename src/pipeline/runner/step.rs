//! One program of a step: started, followed line by line, stopped when asked, and gone with all it started.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};
use tracing::warn;
use uuid::Uuid;

use super::board::End;
use crate::{
    kit::{
        keeper::{Exit, Host, Kept, Limits, MARK, Order, Room},
        lines::{Line, Lines},
        mask::Mask,
    },
    sdk::Log,
};

/// Of one line; the delegate keeps no more of one.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What is left in the stream once all writers are gone is read within an instant; more than that is a writer that can't be killed.
const STREAM_PATIENCE: Duration = Duration::from_secs(5);

/// What to run, and where.
#[derive(Clone)]
pub(super) struct Job {
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: PathBuf,
}

/// What all steps of a runner share.
#[derive(Clone)]
pub(super) struct Workshop {
    pub host: Arc<Host>,
    pub limits: Limits,
}

// === impl Workshop ===

impl Workshop {
    /// Runs it to its end. Once `stop` is ready it is asked to end, and is killed when the time that `stop` gives has passed.
    pub async fn run(&self, mut job: Job, log: &Log, mask: &Mask, stop: impl Future<Output = Duration>) -> End {
        let broken = |error: std::io::Error| End::Error(format!("the step can't be started: {error}"));
        let room = match Room::create(&self.host.rooms, &Uuid::new_v4().simple().to_string()) {
            Ok(room) => room,
            Err(error) => return broken(error),
        };
        // By it a later runner finds what is left; so it is set last.
        job.environment.insert(MARK.to_owned(), room.name());
        let order = Order {
            command: job.command,
            environment: job.environment,
            working_dir: job.working_dir,
            cgroups: self.host.cgroups.clone().filter(|_| !self.limits.is_empty()),
            limits: self.limits,
            watch_memory: self.limits.memory.is_some() && !self.host.enforces_memory(),
        };
        let mut kept = Kept::of(room);
        let output = match kept.start_merged(&self.host.keeper, &order, &[]).await {
            Ok(output) => output,
            Err(error) => return broken(error),
        };
        let mut is_stopped = false;
        let stop = async {
            let grace = stop.await;
            is_stopped = true;
            grace
        };
        let mut following = std::pin::pin!(follow(output, log, mask));
        let mut is_read = false;
        {
            let mut keeping = std::pin::pin!(kept.keep(stop));
            loop {
                tokio::select! {
                    () = &mut keeping => break,
                    () = &mut following, if !is_read => is_read = true,
                }
            }
        }
        let ended = kept.last_word().await;
        if !is_read && timeout(STREAM_PATIENCE, following).await.is_err() {
            warn!("the last of a step's log can't be read");
        }
        let Some(ended) = ended else {
            return End::Error("the process that kept the step died; the step was killed".to_owned());
        };
        kept.leave();
        if is_stopped {
            return End::Killed;
        }
        if ended.memory_limit && ended.exit != Exit::Code(0) {
            let bytes = self.limits.memory.unwrap_or_default();
            log.line(format!("killed: it used more than its {bytes} bytes of memory")).await;
        }
        match ended.exit {
            Exit::Code(code) => End::Code(code),
            // As shells tell it.
            Exit::Signal(signal) => End::Code(128 + signal),
            Exit::NotStarted(why) => End::Error(why),
        }
    }
}

/// Passes on all there is, without secrets.
async fn follow(mut from: impl AsyncRead + Unpin, log: &Log, mask: &Mask) {
    // So that a secret across the cut is seen whole.
    let mut lines = Lines::new(LINE_BYTES_MAX + mask.bytes_max());
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut leaving = Vec::new();
    loop {
        match from.read(&mut chunk).await {
            Ok(0) => break,
            Ok(length) => lines.push(&chunk[..length], |line| leaving.push(shown(&line, mask))),
            Err(error) => {
                warn!(%error, "a step's log can't be read to its end");
                break;
            }
        }
        for line in leaving.drain(..) {
            log.line(line).await;
        }
    }
    lines.finish(|line| leaving.push(shown(&line, mask)));
    for line in leaving {
        log.line(line).await;
    }
}

fn shown(line: &Line<'_>, mask: &Mask) -> Vec<u8> {
    let mut hidden = mask.hide(line.bytes);
    let cut = line.cut + hidden.len().saturating_sub(LINE_BYTES_MAX);
    hidden.truncate(LINE_BYTES_MAX);
    if cut > 0 {
        hidden.extend(format!(" [truncated: {cut} bytes more]").into_bytes());
    }
    hidden
}
