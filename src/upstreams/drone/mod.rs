//! A Drone server: pings, long polls, accepts, details, the PUTs of a stage, and watches for cancels.
//!
//! ```text
//!  Call ─► Drone::perform ─┬─ Register, Heartbeat ─► ping
//!                          ├─ Poll ────► polls: one held request a filter, open over many calls ─► Listing
//!                          │              ▲ cancels
//!                          ├─ Acquire ─► accept, details ─► Spec     watches: two held requests a build, in the background
//!                          ├─ Tell ────► the next PUT of stage or step that the server is behind by
//!                          └─ Report ──► the final PUT, and who is right if its answer is lost
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `options` | what an operator can set |
//! | `wire` | the server's JSON, as far as it is read; its words stay there |
//! | `stage_id` | a stage's id and its build's, as one external id |
//! | `request`, `client` | method, path and bound of each call; sending it |
//! | `classify` | what an answer, or none, means |
//! | `filter` | task type and labels of a handler as a poll's filter, and of an offer the other way round |
//! | `polls` | the long polls that are open |
//! | `watches` | the builds that are watched, and the cancels that were heard |
//! | `accept` | from an offer to a stage of ours |
//! | `spec` | a stage's details in the core's words |
//! | `note` | the note, kept with a task, of the stage to be sent back |
//! | `ends` | what the server gets of a step before the PUT that ends it |
//! | `steps`, `known` | a stage's steps as the server stores them, and what it knows of them |
//! | `tell` | their way to it, one PUT a call |
//! | `logs` | the logs of steps: live, and whole before the server hears of the step's end |
//! | `report` | a finished task as the final PUT, and its resolution |
//! | `machine`, `token` | the name this delegate has there; the secret |
//!
//! The server knows neither sessions nor leases: a stage belongs to whoever's *machine* it names, and every write names the version
//! that it read. So an answer that is lost is resolved by reading the stage again, whose machine and status tell the rest.
//!
//! It keeps nothing on disk. Long polls and watches outlive the calls that began them and end with the adapter. A long poll is never
//! broken off because nobody wants it any more: old servers can block their queue over it, and an offer costs nothing.

mod accept;
mod classify;
mod client;
mod ends;
mod filter;
mod known;
mod logs;
mod machine;
mod note;
mod options;
mod polls;
mod report;
mod request;
mod spec;
mod stage_id;
mod steps;
mod tell;
mod token;
mod watches;
mod wire;

pub use self::{
    client::Drone,
    filter::{LABEL_NODE_PREFIX, TASK_TYPE_PREFIX},
    logs::{LOG_WAIT, UPLOAD_WAIT_MAX},
    options::{Error, Options, Pace},
    polls::POLL_PAUSE,
    request::{HOLD_TIMEOUT, REQUEST_TIMEOUT},
    spec::{CONTENT_TYPE, STAGE_INFO},
    token::Token,
};
