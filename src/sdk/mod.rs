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
//! delegate ◄───────► link ◄──► Session ──────────► driver ──► handlers
//!                              (sync)  ◄──────────        ◄── results, outputs, progress
//! ```
//!
//! What is promised to a handler: it starts only once the delegate has the accept in its journal, so that nobody else runs
//! the same assignment; its result is kept and sent again until the delegate has it in its journal; a cut link does not stop
//! it. What is not: a runner process that dies takes its handlers and unacknowledged results along.

mod backoff;
mod context;
mod driver;
mod error;
mod handler;
mod holdings;
mod link;
mod outcome;
mod output;
mod payload;
pub mod reason;
mod runner;
mod session;
mod stream;
mod target;
mod trace;

pub use self::{
    context::{Cancellation, Context},
    error::RunError,
    handler::Handler,
    outcome::{Failure, Retry, Success},
    output::{Output, OutputError},
    runner::{Connection, Runner},
    target::Token,
};
pub use crate::proto::runner::v1::{
    CancelReason, ErrorOrigin, Origin, Payload, Progress, ResourceRequest, ResourceUsage, Secret, Task, TaskKind,
};
