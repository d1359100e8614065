//! Each limit that the Go client's authors named, and each we found besides: a test named after it, against the real binary or real
//! sockets.

mod admission;
mod cancel;
mod configuration;
mod deadlines;
#[allow(dead_code, reason = "shared with the SDK's own tests, which use all of it")]
#[path = "../sdk/delegate.rs"]
mod delegate;
mod docker_stages;
mod drain;
mod errors;
mod extensions;
mod found;
mod heartbeats;
mod interface;
#[allow(dead_code, reason = "shared with the tests of whole processes, which use all of it")]
#[path = "../process/lab.rs"]
mod lab;
mod sessions;
mod slots;
mod small_handlers;
mod stages;
#[path = "../support/mod.rs"]
mod support;

use dlite::sdk::Runner;

/// A runner in this process, until the task is aborted.
fn spawn(runner: Runner, target: String) -> tokio::task::JoinHandle<()> {
    let second = std::time::Duration::from_secs(1);
    let connection = runner.connect(target).backoff(second / 100, second / 10);
    tokio::spawn(async move { connection.run(std::future::pending()).await.expect("nothing ends it") })
}
