//! The Harness manager's legacy family: registration, heartbeats, polls, acquires, and results in dialects A and B.
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
//! | `spec` | an acquired task in the core's words |
//! | `reply` | the note, kept with a task, of how to answer for it |
//! | `result` | a finished task as the exact bytes of dialect A or B |
//! | `classify` | what an answer, or none, means |
//! | `check` | what the manager says to `dlite upstreams check` |
//! | `host` | the name and address that make the delegate's identity |
//! | `credentials` | the account secret in force, read again when its file changes |
//! | `token` | a secret's form and what is made from it |
//!
//! It never decides when to call or whether to call again, keeps nothing on disk, and writes the account secret into no request unless
//! [`Options::send_secret_in_body`] says so. Of a result it sends the handler's own payload, or a small body that says how the task
//! ended; typed outputs reach the manager only as part of a handler's payload.

mod check;
mod classify;
mod client;
mod credentials;
mod host;
mod options;
mod reply;
mod request;
mod result;
mod spec;
pub mod token;
mod wire;

pub use self::{
    check::CHECK_DELEGATE,
    client::Harness,
    host::{HOST_NAME_BYTES_MAX, IP_FALLBACK},
    options::{Error, LegacyStatusCode, Options},
    request::{HEARTBEAT_TIMEOUT, ID_BYTES_MAX, REQUEST_TIMEOUT},
};
