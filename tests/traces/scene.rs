//! A lab whose delegate and runners send their spans to a receiver.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use dlite::core::trace::TraceScope;

use crate::{
    lab::{Lab, SOON, binary},
    receiver::{Receiver, Transport},
};

/// The lab's account at its manager.
pub const ACCOUNT: &str = "acctLAB0000000000001";

pub struct Scene {
    pub lab: Lab,
    pub receiver: Receiver,
    runners: Vec<Child>,
}

// === impl Scene ===

impl Scene {
    /// A delegate that runs; `more` are further lines of its `[traces]` section.
    pub async fn start(transport: Transport, more: &str) -> Self {
        let receiver = Receiver::start(transport).await;
        let mut lab = Lab::new().await;
        lab.configure(&format!("{}{more}", receiver.section()));
        lab.start_delegate();
        Self { lab, receiver, runners: Vec::new() }
    }

    /// A runner process with this command line behind `dlite`, traced.
    pub fn start_runner(&mut self, arguments: &[&str]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.lab.path("runner.log")).unwrap();
        let mut command: Command = binary();
        command.args(arguments).envs(self.receiver.environment()).stderr(Stdio::from(log));
        self.runners.push(command.spawn().unwrap());
    }

    /// The sample runner on the SDK.
    pub fn start_sdk_runner(&mut self, id: &str) {
        let (socket, starts) = (self.lab.socket(), self.lab.path("starts").display().to_string());
        self.start_runner(&[
            "dev",
            "runner",
            "--id",
            id,
            "--reattach-max-ms",
            "100",
            "--connect",
            &socket,
            "--starts",
            &starts,
        ]);
    }

    /// The manager's result of a task.
    pub async fn result(&self, id: &str) -> String {
        self.lab.manager_when("a result", |record| record.effective(id).is_some(), SOON).await;
        self.lab.manager.effective(id).unwrap().code
    }

    /// Until a handler has started.
    pub async fn started(&self, starts: u32) {
        while self.lab.starts().values().sum::<u32>() < starts {
            crate::lab::pause().await;
        }
    }

    /// Ends runners, whose last spans leave then.
    pub fn stop_runners(&mut self) {
        for runner in &mut self.runners {
            let pid = i32::try_from(runner.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        for mut runner in self.runners.drain(..) {
            assert!(runner.wait().unwrap().success());
        }
    }

    /// Ends runners and delegate; all spans are at the receiver afterwards.
    pub fn stop(&mut self) {
        self.stop_runners();
        assert_eq!(self.lab.stop_delegate(), Some(0), "{}", self.lab.tail());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for runner in &mut self.runners {
            let _ = runner.kill();
            let _ = runner.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.lab.tail());
        }
    }
}

/// The trace of a task that brings none, as any party computes it.
pub fn trace_id(external_id: &str) -> String {
    let scope = TraceScope { kind: "harness".into(), account: ACCOUNT.into() };
    scope.trace_id(&external_id.into()).to_string()
}
