//! The Harness manager's two families of calls: registration, heartbeats, polls, acquires, and results in dialects A and B (legacy)
//! or C (runner). One option chooses, for an upstream as a whole.
//!
//! ```text
//!  Call ─► Harness::perform ─► request ─► Transport ─► classify ─► Answer
//!               │                 ▲                        │
//!               │ host, token     │ result (Report)        └─ spec (Acquire: wire task → Spec)
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `options` | what an operator can set |
//! | `wire` | the manager's JSON, field by field; its words stay there |
//! | `request` | method, path and bound of each call |
//! | `wire::runner`, `spec::runner`, `classify::runner` | the same of the runner family |
//! | `spec` | an acquired task in the core's words |
//! | `stage` | the part a task plays in a stage, and which stage |
//! | `spec::trace` | the span that a task came with |
//! | `reply` | the note, kept with a task, of how to answer for it |
//! | `result` | a finished task as the exact bytes of dialect A, B or C |
//! | `classify` | what an answer, or none, means |
//! | `check` | what the manager says to `dlite upstreams check` |
//! | `logs` | the log service: where a task's log goes, live and whole |
//! | `host` | the name and address that make the delegate's identity |
//! | `credentials` | the account secret in force, read again when its file changes |
//! | `token` | a secret's form and what is made from it |
//!
//! It never decides when to call or whether to call again, keeps nothing on disk, and writes the account secret into no request unless
//! [`Options::send_secret_in_body`] says so. Of a result it sends the handler's own payload, or a small body that says how the task
//! ended; typed outputs reach the manager only as part of a handler's payload.
//!
//! Of the runner family it does not speak the daemon sets' calls: a runner reports there which long-running programs it keeps, and
//! this delegate keeps none, so it has nothing to say and must not be asked to keep any. Tasks that ask for it all the same are taken
//! and answered as unsupported, since nobody else will answer them.
//!
//! An account that moves (`MIGRATE`) is followed by this process, and found anew by the next one.

mod check;
mod classify;
mod client;
mod credentials;
mod extensions;
mod host;
mod logs;
mod options;
mod reply;
mod request;
mod result;
mod spec;
mod stage;
pub mod token;
mod wire;

pub use self::{
    check::CHECK_DELEGATE,
    client::Harness,
    host::{HOST_NAME_BYTES_MAX, IP_FALLBACK},
    logs::{LogService, Upload},
    options::{Error, Family, LegacyStatusCode, Options},
    request::{HEARTBEAT_TIMEOUT, ID_BYTES_MAX, REQUEST_TIMEOUT},
    stage::Pointers,
};
