//! The real binary under a supervisor.

use std::process::Stdio;

use crate::{
    ask,
    lab::{Lab, binary},
    support::patiently,
    watchdog::Ear,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_tells_its_supervisor_that_it_is_ready_alive_and_stopping() {
    let (lab, ear) = (Lab::new().await, Ear::new());
    let log = std::fs::File::create(lab.path("delegate.log")).expect("a log");
    let mut delegate = binary()
        .args(["run", "--config"])
        .arg(lab.path("dlite.toml"))
        .env("NOTIFY_SOCKET", ear.path())
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::from(log))
        .spawn()
        .expect("it starts");
    let first = ear.until("READY=1").await;
    assert_eq!(first, ["READY=1"], "nothing is said before it is ready");
    ear.until("WATCHDOG=1").await;
    ear.until("WATCHDOG=1").await;

    let log = std::fs::read_to_string(lab.path("delegate.log")).expect("a log");
    let address = log.split("http=Some(").nth(1).and_then(|rest| rest.split(')').next()).expect("its address");
    let page = ask::metrics(address.parse().expect("an address")).await;
    assert_eq!(page.value("dlite_spans_dropped", &[]), 0.0);
    assert_eq!(page.value("dlite_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    let pid = i32::try_from(delegate.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let last = ear.until("STOPPING=1").await;
    assert!(last.last().is_some_and(|message| message.contains("EXTEND_TIMEOUT_USEC=")), "{last:?}");
    let ended = patiently(tokio::task::spawn_blocking(move || delegate.wait())).await.expect("no panic");
    assert_eq!(ended.expect("an exit").code(), Some(0));
}
