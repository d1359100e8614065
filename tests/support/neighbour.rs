//! A well-behaved runner on the same daemon, to show that what a bad one does hurts nobody else.

use std::sync::Arc;

use dlite::{
    core::task::Outcome,
    sdk::{Context, Failure, Handler, Payload, RunError, Runner},
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{patiently, place::Running, stub::Stub};

/// The task type it executes.
pub const TASK_TYPE: &str = "NEIGHBOUR";

/// Built on the SDK, it echoes.
pub struct Neighbour {
    stub: Arc<Stub>,
    served: usize,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), RunError>>,
}

// === impl Neighbour ===

impl Neighbour {
    /// Attached, and seen to work.
    pub async fn of(daemon: &Running) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let echo = Handler::new(TASK_TYPE, |_: Context, payload: Payload| async move { Ok::<_, Failure>(payload) });
        let runner = Runner::new("neighbour").handler(echo).slots("default", 4).connect(daemon.target());
        let run = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        let mut neighbour = Self { stub: daemon.stub.clone(), served: 0, stop, run };
        neighbour.works().await;
        neighbour
    }

    /// It gets a task, does it, and its result is reported once.
    pub async fn works(&mut self) {
        self.served += 1;
        let external_id = format!("neighbour-{}", self.served);
        self.stub.offer(&external_id, TASK_TYPE);
        let report = self.stub.report(&external_id).await;
        assert_eq!(report.finish.outcome, Outcome::Succeeded, "{:?}", report.finish);
        let payload = report.finish.payload.as_ref().expect("a payload");
        assert_eq!(payload.content, external_id.as_bytes());
    }

    /// It still works, and everything it did was reported once.
    pub async fn ends_unhurt(mut self) {
        self.works().await;
        self.stub.read(|book| {
            for n in 1..=self.served {
                assert_eq!(book.reports_of(&format!("neighbour-{n}")).count(), 1);
            }
        });
        let _ = self.stop.send(());
        patiently(self.run).await.expect("no panic").expect("it ends well");
    }
}
