//! `dlite dev runner`: sample handlers on the public SDK, the other end of `dlite dev` and of the process tests.

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use super::stage::{PLATFORM, STAGE, play};
use crate::{
    cli::{chain, fail},
    sdk::{Context, Failure, Handler, Payload, Runner, Token},
    telemetry::traces::runner::Tracer,
};

/// Works as long as its data says; may run again after a lost lease.
pub const WORK: &str = "DEV_WORK";
/// The same, and must never start twice.
pub const ONCE: &str = "DEV_ONCE";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the delegate listens: unix:/path or http://host:port
    #[arg(long, value_name = "TARGET")]
    connect: String,
    /// Name of this runner
    #[arg(long, default_value = "dev-1")]
    id: String,
    /// Tasks at once
    #[arg(long, default_value_t = 16)]
    slots: u32,
    /// File with the token of a TCP listener
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Append a line `TASK TYPE` to this file whenever a handler starts
    #[arg(long, value_name = "FILE")]
    starts: Option<PathBuf>,
    /// Longest pause before attaching again, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    reattach_max_ms: u64,
}

/// Does nothing and answers with the time of its start, in nanoseconds of the monotonic clock, which all processes share.
pub const NOOP: &str = "DEV_NOOP";

/// The data of a sample task; what is left out does nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Work {
    /// How long to work.
    millis: u64,
    /// Exit with a failure that says this.
    fail: Option<String>,
    /// Do not stop when asked.
    stubborn: bool,
    /// Lines to log, as [`line`] has them.
    lines: u64,
}

/// The text of a sample task's line.
pub fn line(number: u64) -> String {
    format!("line {number} of a sample task")
}

pub fn run(args: &Args) -> ExitCode {
    let starts = match args.starts.as_ref().map(open_starts).transpose() {
        Ok(starts) => Arc::new(starts),
        Err(error) => return fail(&format!("--starts can't be written: {error}")),
    };
    // The sample handlers only wait, so one thread does for them and their link.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the system gives no thread: {error}")),
    };
    runtime.block_on(async {
        let handler = |task_type: &str| {
            let starts = starts.clone();
            Handler::new(task_type, move |context, payload| work(starts.clone(), context, payload))
        };
        let stages = PLATFORM
            .into_iter()
            .fold(Handler::new(STAGE, play), |handler, (key, value)| handler.match_label(key, value));
        let mut connection = Runner::new(&args.id)
            .handler(handler(ONCE))
            .handler(handler(WORK).idempotent())
            .handler(Handler::new(NOOP, |_: Context, _: Payload| async {
                Ok::<_, Failure>(Payload::text(clock_nanos().to_string()))
            }))
            .handler(stages)
            .slots("default", args.slots)
            .connect(&args.connect)
            .backoff(Duration::from_millis(20), Duration::from_millis(args.reattach_max_ms.max(20)));
        if let Some(file) = &args.token_file {
            connection = connection.token(Token::File(file.clone()));
        }
        let stop = async {
            match signal(SignalKind::terminate()) {
                Ok(mut terminate) => drop(terminate.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        let tracer = match Tracer::install("dlite-runner", &args.id) {
            Ok(tracer) => tracer,
            Err(error) => return fail(&chain(&error)),
        };
        let ended = connection.run(stop).await;
        tracer.shut_down().await;
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&chain(&error)),
        }
    })
}

async fn work(starts: Arc<Option<std::fs::File>>, task: Context, payload: Payload) -> Result<Payload, Failure> {
    if let Some(mut file) = starts.as_ref().as_ref() {
        // One write is one line, also beside other writers.
        file.write_all(format!("{} {}\n", task.task_id(), task.task_type()).as_bytes())?;
    }
    let work: Work = payload.parse()?;
    let log = (work.lines > 0).then(|| task.log(""));
    for (number, log) in (0..work.lines).zip(log.iter().cycle()) {
        log.line(line(number)).await;
    }
    let started = Instant::now();
    let total = Duration::from_millis(work.millis);
    let done = tokio::time::sleep(total);
    tokio::pin!(done);
    if work.stubborn {
        done.await;
    } else {
        tokio::select! {
            () = &mut done => {}
            _ = task.cancelled() => return Err(Failure::cancelled()),
        }
    }
    if let Some(message) = work.fail {
        let body = serde_json::json!({ "command_execution_status": "FAILURE", "error_message": message });
        return Err(Failure::failed(message).exit_code(1).payload(Payload::json(&body)?));
    }
    let body = serde_json::json!({
        "command_execution_status": "SUCCESS",
        "output_vars": { "task": task.task_id(), "millis": started.elapsed().as_millis().to_string() },
    });
    Ok(Payload::json(&body)?)
}

/// The monotonic clock, which all processes of a host share.
pub fn clock_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn open_starts(path: &PathBuf) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(path)
}
