//! The runner's end: a keeper at work, and the room it keeps.

use std::{io, os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::unix::pipe,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::{
    Room,
    order::{Ended, KILL, Order, TERMINATE},
    record,
    room::read_json,
};

/// A room and, once started, its keeper. Dropped before its end, the keeper sees that, kills all it keeps, and its room goes.
pub(crate) struct Kept {
    room: Room,
    child: Option<Child>,
    control: Option<ChildStdin>,
}

// === impl Kept ===

impl Kept {
    /// Nothing runs in `room` yet.
    pub fn of(room: Room) -> Self {
        Self { room, child: None, control: None }
    }

    /// Starts the program with its two streams apart; `keeper` is this project's own program.
    pub async fn start(
        &mut self,
        keeper: &Path,
        order: &Order,
        payload: &[u8],
    ) -> io::Result<(ChildStdout, ChildStderr)> {
        self.spawn(keeper, order, payload, Stdio::piped(), Stdio::piped()).await?;
        let streams = self.child.as_mut().and_then(|child| child.stdout.take().zip(child.stderr.take()));
        streams.ok_or_else(|| io::Error::other("the keeper has no streams"))
    }

    /// The same with one stream for both, in the order in which the program writes.
    pub async fn start_merged(&mut self, keeper: &Path, order: &Order, payload: &[u8]) -> io::Result<pipe::Receiver> {
        let (reader, writer) = io::pipe()?;
        let errors = writer.try_clone()?;
        self.spawn(keeper, order, payload, writer.into(), errors.into()).await?;
        pipe::Receiver::from_owned_fd(OwnedFd::from(reader))
    }

    async fn spawn(&mut self, keeper: &Path, order: &Order, payload: &[u8], out: Stdio, err: Stdio) -> io::Result<()> {
        let frame = order.frame(payload).ok_or_else(|| io::Error::other("the payload is too large to hand over"))?;
        let mut child = Command::new(keeper)
            .args(["runner", "keep"])
            .arg(self.room.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", keeper.display())))?;
        self.control = child.stdin.take();
        self.child = Some(child);
        match &mut self.control {
            Some(control) => control.write_all(&frame).await,
            None => Err(io::Error::other("the keeper has no control")),
        }
    }

    /// Until the program and all it started have ended. Once `stop` is ready it is asked to; what still runs when the time that `stop`
    /// gives has passed is killed.
    pub async fn keep(&mut self, stop: impl Future<Output = Duration>) {
        let Some(child) = &mut self.child else { return };
        let mut stop = std::pin::pin!(stop);
        let mut is_asked = false;
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = child.wait() => {
                    if let Err(error) = ended {
                        warn!(room = self.room.name(), %error, "the keeper's end can't be seen");
                    }
                    return;
                }
                grace = &mut stop, if !is_asked => {
                    is_asked = true;
                    kill_at = Some(Instant::now() + grace);
                    tell(&mut self.control, TERMINATE).await;
                }
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    debug!(room = self.room.name(), "the script is killed");
                    kill_at = None;
                    tell(&mut self.control, KILL).await;
                }
            }
        }
    }

    /// How it ended, from its keeper. `None`: the keeper was killed, and what it kept has been ended in its stead.
    pub async fn last_word(&mut self) -> Option<Ended> {
        let name = self.room.name();
        let ended = match read_json::<Ended>(&self.room.ended()) {
            Ok(ended) => ended,
            Err(error) => {
                warn!(room = name, %error, "the keeper left no word");
                self.child = None;
                let room = self.room.clone();
                // It looks for processes and waits for their ends.
                let _ = tokio::task::spawn_blocking(move || record::clear(&room)).await;
                return None;
            }
        };
        if ended.strays > 0 {
            warn!(room = name, processes = ended.strays, "the script left processes running, which were killed");
        }
        if ended.survivors > 0 {
            warn!(room = name, processes = ended.survivors, "processes of the script can't be killed");
        }
        Some(ended)
    }

    /// Removes the room of a program that has ended.
    pub fn leave(mut self) {
        self.child = None;
        if let Err(error) = self.room.remove() {
            warn!(room = %self.room.path().display(), %error, "the room can't be removed");
        }
    }
}

/// A keeper that has ended meanwhile needs no command.
async fn tell(control: &mut Option<ChildStdin>, command: u8) {
    if let Some(control) = control {
        let _ = control.write_all(&[command]).await;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Its end is what the keeper sees first.
        self.control = None;
        let Some(mut child) = self.child.take() else {
            let _ = self.room.remove();
            return;
        };
        let room = self.room.clone();
        // Without a runtime the process ends, and the keeper removes the room alone.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = child.wait().await;
                let _ = room.remove();
            });
        }
    }
}
