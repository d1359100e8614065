//! The limits that the Go client's own authors name, and that are none here: each by a test named after it.

#[allow(dead_code, reason = "shared with the SDK's own tests, which use all of it")]
#[path = "../sdk/delegate.rs"]
mod delegate;
mod extensions;
#[allow(dead_code, reason = "shared with the tests of whole processes, which use all of it")]
#[path = "../process/lab.rs"]
mod lab;
mod small_handlers;
#[path = "../support/mod.rs"]
mod support;

use dlite::sdk::Runner;

/// A runner in this process, until the task is aborted.
fn spawn(runner: Runner, target: String) -> tokio::task::JoinHandle<()> {
    let second = std::time::Duration::from_secs(1);
    let connection = runner.connect(target).backoff(second / 100, second / 10);
    tokio::spawn(async move { connection.run(std::future::pending()).await.expect("nothing ends it") })
}
