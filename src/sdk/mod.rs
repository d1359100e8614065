//! What a Rust runner links: handlers, their context, and the loop that keeps a runner attached to its delegate.
//!
//! It knows the runner protocol (`proto/dlite/runner/v1`) and nothing of the daemon.
//!
//! ```no_run
//! use dlite::sdk::{Context, Handler, Payload, Runner};
//!
//! # async fn example() -> Result<(), dlite::sdk::RunError> {
//! let echo = Handler::new("ECHO", |_: Context, payload: Payload| async move { Ok(payload) });
//! Runner::new("echo-1").handler(echo).slots("default", 4).connect("unix:/run/dlite/runner.sock").run(std::future::pending()).await
//! # }
//! ```
//!
//! ```text
//!            frames                      effects
//! delegate ◄───────► link ◄──► engine ───────────► driver ──► handlers
//!                              (sync)  ◄──────────        ◄── results, outputs, progress
//! ```
//!
//! What is promised to a handler: it starts only once the delegate has the accept in its journal, so that nobody else runs
//! the same assignment; its result is kept and sent again until the delegate has it in its journal; a cut link does not stop
//! it. What is not: a runner process that dies takes its handlers and unacknowledged results along.

mod backoff;
mod context;
mod control;
mod driver;
mod engine;
mod error;
mod extension;
mod handler;
mod holdings;
mod json;
mod layer;
mod link;
mod log;
mod outcome;
mod output;
mod payload;
pub mod reason;
mod refusal;
mod runner;
mod session;
mod stage;
mod state;
mod step;
mod stream;
mod target;
mod trace;
mod usage;

pub use self::{
    context::{Cancellation, Context},
    control::Control,
    error::RunError,
    extension::Extension,
    handler::Handler,
    layer::{Deadline, Layer, Next, Timing},
    log::{LOG_BUFFER_BYTES_MAX, LOG_FLUSH_MAX, LOG_WAIT_MAX, Log, LogWriter},
    outcome::{Failure, Retry, Success},
    output::{Output, OutputError},
    runner::{CLEANUP_CLASS, Connection, Runner},
    session::{Session, UPDATE_TRIES_MAX},
    stage::{Cleanup, Execute, Setup},
    state::{STATE_BYTES_MAX, StateChange, StateError},
    step::StepError,
    target::Token,
};
pub use crate::proto::runner::v1::{
    CancelReason, Card, ErrorOrigin, ExportedVariable, LogLevel, LogLine, LogReceipt, LogSource, Origin, Payload,
    Progress, ResourceRequest, ResourceUsage, RunnerHealth, Secret, SessionPhase, Step, StepState, Task, TaskKind,
    TaskOutcome,
};
