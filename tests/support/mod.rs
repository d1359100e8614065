//! What integration tests share: an upstream in process, a daemon on temporary directories, and two kinds of runners: one that
//! says any frame a test thinks of, and one that behaves.
//!
//! Included by `#[path = "../support/mod.rs"] mod support;`. Nothing here sleeps to wait: each wait is for a condition, up to
//! [`PATIENCE`].

// Each test target uses its part of it.
#![allow(dead_code)]

pub mod neighbour;
pub mod peer;
pub mod place;
pub mod stub;

use std::time::Duration;

/// Nothing in these tests takes longer than an instant; whatever waits for this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What `future` comes to, which it does in time.
#[track_caller]
pub fn patiently<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened within {PATIENCE:?} at {caller}"),
        }
    }
}
