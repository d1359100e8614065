//! One task: its room, its keeper, and what comes back.

use std::{io, path::Path, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{
    Host,
    config::Route,
    environment::{environment, write_secrets},
    events,
    keeper::spec::{Ended, Exit, KILL, Order, TERMINATE},
    log::{Log, Tail},
    mask::Mask,
    outputs, record,
    result::{Captured, capture, from_file},
    room::{Room, read_bounded, read_json},
    session,
    verdict::Report,
};
use crate::sdk::{Cancellation, Context, Failure, Output, Payload, Session, Success};

/// The SDK drops a handler when its grace has passed; what is killed this long before still has its result told.
const RESULT_MARGIN_MAX: Duration = Duration::from_secs(2);

/// What is left in the streams once all writers are gone is read within an instant; more than that is a writer that can't be killed.
const STREAMS_PATIENCE: Duration = Duration::from_secs(5);

/// A keeper at work. Dropped before its end, the keeper sees that, kills all it keeps, and its room goes.
struct Kept {
    room: Room,
    child: Option<Child>,
    control: Option<ChildStdin>,
}

/// Executes one task.
pub(super) async fn execute(
    host: Arc<Host>,
    route: Arc<Route>,
    context: Context,
    payload: Payload,
) -> Result<Success, Failure> {
    let session = context.session();
    let (mut kept, pipe) = match enter(&host, &route, &context, session.as_ref(), &payload).await {
        Ok(entered) => entered,
        Err(error) => {
            let failure = Failure::errored("RUNNER_FAILED", format!("the task can't be started: {error}"));
            return Err(failure.side_effects(false).retry(crate::sdk::Retry::OtherRunner));
        }
    };
    let Some((stdout, stderr)) = kept.child.as_mut().and_then(|child| child.stdout.take().zip(child.stderr.take()))
    else {
        return Err(Failure::errored("RUNNER_FAILED", "the keeper has no streams"));
    };
    let variables = session.as_ref().map_or(&[][..], Session::exported_variables);
    let exported = variables.iter().filter(|variable| variable.sensitive).map(|variable| variable.value.as_bytes());
    let mask = Mask::new(context.secrets().iter().map(|secret| &secret.value[..]).chain(exported));
    let log = Log::new(context.task_id(), mask, route.log_bytes_max).telling(context.log(""));
    let (over, is_over) = oneshot::channel();
    let streams = async { tokio::join!(capture(stdout, route.result_bytes_max), log.follow(stderr)) };
    let telling = events::follow(pipe, &context, is_over);
    let (mut streams, mut telling) = (std::pin::pin!(streams), std::pin::pin!(telling));

    let mut read: Option<(Captured, Tail)> = None;
    let mut is_told = false;
    let stopped = {
        let mut keeping = std::pin::pin!(kept.keep(&route, &context));
        loop {
            tokio::select! {
                stopped = &mut keeping => break stopped,
                both = &mut streams, if read.is_none() => read = Some(both),
                () = &mut telling, if !is_told => is_told = true,
            }
        }
    };
    let ended = kept.last_word(&context).await;
    // Nobody writes any more.
    let _ = over.send(());
    if read.is_none() {
        read = timeout(STREAMS_PATIENCE, streams).await.ok();
    }
    if !is_told && timeout(STREAMS_PATIENCE, telling).await.is_err() {
        warn!(task_id = context.task_id(), "not all events could be told");
    }
    let (stdout, tail) = read.unwrap_or_default();
    match ended {
        Some(ended) => kept.leave(&context, session.as_ref(), ended, stopped, stdout, tail).judge(&route),
        None => {
            let message = "the process that kept the script died; the script was killed";
            let failure = Failure::errored("KEEPER_LOST", message).side_effects(true);
            Err(if tail.text().is_empty() { failure } else { failure.hint("the last lines of its log", tail.text()) })
        }
    }
}

/// Starts the keeper in a new room and gives it its order.
async fn enter(
    host: &Host,
    route: &Route,
    context: &Context,
    session: Option<&Session>,
    payload: &Payload,
) -> io::Result<(Kept, pipe::Receiver)> {
    let room = Room::create(&host.rooms, &Uuid::new_v4().simple().to_string())?;
    let mut kept = Kept { room: room.clone(), child: None, control: None };
    let has_secrets = write_secrets(&room, context, session)?;
    if let Some(session) = session {
        session::write(&room, session)?;
    }
    let order = Order {
        command: route.command.clone(),
        environment: environment(route, &room, context, session, has_secrets),
        working_dir: route.working_dir.clone().unwrap_or_else(|| room.work()),
        cgroups: host.cgroups.clone().filter(|_| !route.limits.is_empty()),
        limits: route.limits,
        watch_memory: route.limits.memory.is_some() && !host.enforces_memory(),
    };
    let frame =
        order.frame(&payload.inline).ok_or_else(|| io::Error::other("the payload is too large to hand over"))?;
    let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(room.events())?;
    let mut child = Command::new(&host.keeper)
        .args(["runner", "keep"])
        .arg(room.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", host.keeper.display())))?;
    kept.control = child.stdin.take();
    kept.child = Some(child);
    if let Some(control) = &mut kept.control {
        control.write_all(&frame).await?;
    }
    Ok((kept, pipe))
}

// === impl Kept ===

impl Kept {
    /// Until the keeper has ended; asks it to stop when the task is asked to.
    async fn keep(&mut self, route: &Route, context: &Context) -> Option<Cancellation> {
        let Some(child) = &mut self.child else { return None };
        let mut stopped: Option<Cancellation> = None;
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = child.wait() => {
                    if let Err(error) = ended {
                        warn!(task_id = context.task_id(), %error, "the keeper's end can't be seen");
                    }
                    return stopped;
                }
                cancellation = context.cancelled(), if stopped.is_none() => {
                    debug!(task_id = context.task_id(), reason = ?cancellation.reason, "the script is asked to stop");
                    let margin = (cancellation.grace / 4).min(RESULT_MARGIN_MAX);
                    kill_at = Some(Instant::now() + route.grace.min(cancellation.grace - margin));
                    stopped = Some(cancellation);
                    tell(&mut self.control, TERMINATE).await;
                }
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    debug!(task_id = context.task_id(), "the script is killed");
                    kill_at = None;
                    tell(&mut self.control, KILL).await;
                }
            }
        }
    }

    /// How the script ended, from its keeper. `None`: the keeper was killed, and what it kept has been ended in its stead.
    async fn last_word(&mut self, context: &Context) -> Option<Ended> {
        let task_id = context.task_id();
        let ended = match read_json::<Ended>(&self.room.ended()) {
            Ok(ended) => ended,
            Err(error) => {
                warn!(task_id, %error, "the keeper left no word");
                self.child = None;
                let room = self.room.clone();
                // It looks for processes and waits for their ends.
                let _ = tokio::task::spawn_blocking(move || record::clear(&room)).await;
                return None;
            }
        };
        if ended.strays > 0 {
            warn!(task_id, processes = ended.strays, "the script left processes running, which were killed");
        }
        if ended.survivors > 0 {
            warn!(task_id, processes = ended.survivors, "processes of the script can't be killed");
        }
        Some(ended)
    }

    /// All that is left of the script; the room is gone after it.
    fn leave(
        mut self,
        context: &Context,
        session: Option<&Session>,
        ended: Ended,
        stopped: Option<Cancellation>,
        stdout: Captured,
        tail: Tail,
    ) -> Report {
        let task_id = context.task_id();
        let is_started = !matches!(ended.exit, Exit::NotStarted(_));
        let file = from_file(&self.room.result()).unwrap_or_else(|error| {
            warn!(task_id, %error, "the result file can't be read");
            None
        });
        let (mut outputs, mut state) = (Vec::new(), Ok(None));
        if is_started {
            outputs = self.outputs(task_id, &self.room.outputs(), outputs::parse);
            let exports = self.outputs(task_id, &self.room.exports(), outputs::parse_exports);
            let is_free = |output: &Output| exports.iter().all(|exported| exported.name() != output.name());
            outputs.retain(is_free);
            outputs.extend(exports);
            outputs.truncate(outputs::OUTPUTS_MAX);
            state = session.map_or(Ok(None), |session| session::read_back(&self.room, session));
        }
        self.child = None;
        if let Err(error) = self.room.remove() {
            warn!(task_id, %error, room = %self.room.path().display(), "the task's room can't be removed");
        }
        Report { ended, stopped, stdout, file, outputs, state, tail }
    }

    fn outputs(&self, task_id: &str, path: &Path, parse: impl Fn(&[u8]) -> (Vec<Output>, Vec<String>)) -> Vec<Output> {
        let text = match read_bounded(path, outputs::FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                warn!(task_id, %error, path = %path.display(), "a file of outputs can't be read");
                return Vec::new();
            }
        };
        if text.len() as u64 > outputs::FILE_BYTES_MAX {
            let bytes_max = outputs::FILE_BYTES_MAX;
            warn!(task_id, bytes_max, path = %path.display(), "a file of outputs is too large and is passed over");
            return Vec::new();
        }
        let (outputs, complaints) = parse(&text);
        for why in complaints.iter().take(20) {
            warn!(task_id, %why, "an output is passed over");
        }
        outputs
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
