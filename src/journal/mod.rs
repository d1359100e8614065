//! The journal: facts go in, and come back after any crash.
//!
//! ```text
//!  core ── records, encoded ──► Writer ── groups ──► Store::commit ──► disk
//!             ▲                   │ (thread `dlite-journal`)
//!             └── Durable(last) ──┘                  Store::load ──► Vec<Row>, once, at start
//! ```
//!
//! It owns the order and the durability of opaque bytes. What it never does: look into a body, decide what is kept, or
//! acknowledge a change before the change would survive a power cut.
//!
//! What is seen at load, as a named [`Error`]: a flipped, swapped or truncated row (each is sealed under its own place), a
//! missing row or tail of a scope (rows are dense and counted), a foreign or newer file, the wrong key. What can't be seen: a
//! whole journal set back to an earlier commit, since every earlier state was once a good one.

mod census;
mod change;
mod error;
mod open;
mod schema;
mod seal;
mod sqlite;
mod store;
mod writer;

pub use change::{Change, NUMBER_MAX, Row, SCOPE_MAX};
pub use error::{Damage, Error};
pub use open::{Opened, open};
pub use schema::FORMAT;
pub use sqlite::{PageLimit, Sqlite};
pub use store::{Space, Store};
pub use writer::{
    BATCH_BYTES_MAX, BATCH_CHANGES_MAX, Batch, Event, Pace, RETRY_PAUSE, SPACE_LOW_BYTES, SPACE_OK_BYTES, SPACE_POLL,
    STOP_GRACE, Stopped, Unwritten, Writer,
};
