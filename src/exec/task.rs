//! One task: its room, its keeper, and what comes back.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::unix::pipe,
    process::{ChildStderr, ChildStdout},
    sync::oneshot,
    time::timeout,
};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{
    Host,
    config::Route,
    environment::{environment, write_secrets},
    events,
    log::{Log, Tail},
    outputs,
    result::{Captured, capture, from_file},
    room::{Room, read_bounded},
    session,
    verdict::Report,
};
use crate::{
    kit::{
        keeper::{Ended, Exit, Kept, Order},
        mask::Mask,
    },
    sdk::{Cancellation, Context, Failure, Output, Payload, Session, Success},
};

/// The SDK drops a handler when its grace has passed; what is killed this long before still has its result told.
const RESULT_MARGIN_MAX: Duration = Duration::from_secs(2);

/// What is left in the streams once all writers are gone is read within an instant; more than that is a writer that can't be killed.
const STREAMS_PATIENCE: Duration = Duration::from_secs(5);

/// A script that runs. Dropped before its end, all of it is killed and its room goes.
struct Script {
    room: Room,
    kept: Kept,
}

/// What it writes to.
struct Streams {
    stdout: ChildStdout,
    stderr: ChildStderr,
    events: pipe::Receiver,
}

/// Executes one task.
pub(super) async fn execute(
    host: Arc<Host>,
    route: Arc<Route>,
    context: Context,
    payload: Payload,
) -> Result<Success, Failure> {
    let session = context.session();
    let (mut script, streams) = match enter(&host, &route, &context, session.as_ref(), &payload).await {
        Ok(entered) => entered,
        Err(error) => {
            let failure = Failure::errored("RUNNER_FAILED", format!("the task can't be started: {error}"));
            return Err(failure.side_effects(false).retry(crate::sdk::Retry::OtherRunner));
        }
    };
    let Streams { stdout, stderr, events } = streams;
    let variables = session.as_ref().map_or(&[][..], Session::exported_variables);
    let exported = variables.iter().filter(|variable| variable.sensitive).map(|variable| variable.value.as_bytes());
    let mask = Mask::new(context.secrets().iter().map(|secret| &secret.value[..]).chain(exported));
    let log = Log::new(context.task_id(), mask, route.log_bytes_max).telling(context.log(""));
    let (over, is_over) = oneshot::channel();
    let streams = async { tokio::join!(capture(stdout, route.result_bytes_max), log.follow(stderr)) };
    let telling = events::follow(events, &context, is_over);
    let (mut streams, mut telling) = (std::pin::pin!(streams), std::pin::pin!(telling));

    let mut read: Option<(Captured, Tail)> = None;
    let mut is_told = false;
    let stopped = {
        let mut keeping = std::pin::pin!(script.keep(&route, &context));
        loop {
            tokio::select! {
                stopped = &mut keeping => break stopped,
                both = &mut streams, if read.is_none() => read = Some(both),
                () = &mut telling, if !is_told => is_told = true,
            }
        }
    };
    let ended = script.kept.last_word().await;
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
        Some(ended) => script.leave(&context, session.as_ref(), ended, stopped, stdout, tail).judge(&route),
        None => {
            let message = "the process that kept the script died; the script was killed";
            let failure = Failure::errored("KEEPER_LOST", message).side_effects(true);
            Err(if tail.text().is_empty() { failure } else { failure.hint("the last lines of its log", tail.text()) })
        }
    }
}

/// Starts the script in a new room.
async fn enter(
    host: &Host,
    route: &Route,
    context: &Context,
    session: Option<&Session>,
    payload: &Payload,
) -> io::Result<(Script, Streams)> {
    let room = Room::create(&host.rooms, &Uuid::new_v4().simple().to_string())?;
    let mut kept = Kept::of(room.kept());
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
    let events = pipe::OpenOptions::new().read_write(true).open_receiver(room.events())?;
    let (stdout, stderr) = kept.start(&host.keeper, &order, &payload.inline).await?;
    Ok((Script { room, kept }, Streams { stdout, stderr, events }))
}

// === impl Script ===

impl Script {
    /// Until it has ended; it is asked to stop when the task is, which is told.
    async fn keep(&mut self, route: &Route, context: &Context) -> Option<Cancellation> {
        let mut stopped = None;
        let stop = async {
            let cancellation = context.cancelled().await;
            debug!(task_id = context.task_id(), reason = ?cancellation.reason, "the script is asked to stop");
            let margin = (cancellation.grace / 4).min(RESULT_MARGIN_MAX);
            let grace = route.grace.min(cancellation.grace - margin);
            stopped = Some(cancellation);
            grace
        };
        self.kept.keep(stop).await;
        stopped
    }

    /// All that is left of the script; the room is gone after it.
    fn leave(
        self,
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
        self.kept.leave();
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
