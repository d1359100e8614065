//! A runner in this process that serves the parts of a stage, and whose steps take as long as the test wants.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use dlite::{
    doubles::manager::NewTask,
    proto::runner::v1::TaskKind,
    sdk::{Context, Failure, Handler, Payload, Runner},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::lab::{Lab, SOON};

pub const SETUP: &str = "DLITE_CI_VM_INITIALIZE_TASK";
pub const STEP: &str = "DLITE_CI_VM_EXECUTE_TASK";
pub const CLEANUP: &str = "DLITE_CI_VM_CLEANUP_TASK";

/// Submits one part of a stage, each time of another one.
pub fn submit(lab: &Lab, task_type: &str) -> String {
    static STAGES: AtomicU64 = AtomicU64::new(0);
    let stage = format!("stage-{}", STAGES.fetch_add(1, Ordering::Relaxed));
    // Where each of the three types names its stage.
    let payload = serde_json::json!({
        "setup_vm_request": { "id": stage },
        "execute_step_request": { "stage_runtime_id": stage },
        "stage_runtime_id": stage,
    });
    lab.manager.submit(NewTask::new(task_type, payload.to_string())).expect("a task")
}

pub struct Stages {
    started: mpsc::UnboundedReceiver<(String, Instant)>,
    release: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Stages {
    /// Attaches with so many slots that all parts of a stage share.
    pub fn attach(target: &str, slots: u32) -> Self {
        let (starts, started) = mpsc::unbounded_channel();
        let (release, released) = watch::channel(false);
        let at_once = |task_type: &str, kind| {
            let starts = starts.clone();
            let work = move |context: Context, _: Payload| {
                // The test may have seen enough.
                let _ = starts.send((context.task_type().to_owned(), Instant::now()));
                async { Ok::<_, Failure>(Payload::text("{}")) }
            };
            Handler::new(task_type, work).kind(kind).slot_class("default")
        };
        let told = starts.clone();
        let step = Handler::new(STEP, move |context: Context, _: Payload| {
            let _ = told.send((context.task_type().to_owned(), Instant::now()));
            let mut released = released.clone();
            async move {
                // Whoever releases goes only with the runner.
                let _ = released.wait_for(|released| *released).await;
                Ok::<_, Failure>(Payload::text("{}"))
            }
        });
        let runner = Runner::new("stages-1")
            .handler(at_once(SETUP, TaskKind::SessionSetup))
            .handler(step.kind(TaskKind::SessionExecute).slot_class("default"))
            .handler(at_once(CLEANUP, TaskKind::SessionCleanup))
            .slots("default", slots)
            .connect(target)
            .backoff(std::time::Duration::from_millis(20), std::time::Duration::from_millis(100));
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            runner.run(stopped).await.expect("the runner ends well");
        });
        Self { started, release, stop: Some(stop), running }
    }

    /// The next handler that starts: its type, and when.
    pub async fn next(&mut self) -> (String, Instant) {
        let next = tokio::time::timeout(SOON, self.started.recv()).await;
        next.expect("a handler starts in time").expect("the runner lives")
    }

    /// What started and was not asked for yet.
    pub fn so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.started.try_recv().ok()).map(|(task_type, _)| task_type).collect()
    }

    /// Steps end, those to come too.
    pub fn release(&self) {
        self.release.send_replace(true);
    }

    pub async fn stop(mut self) {
        self.release();
        drop(self.stop.take());
        tokio::time::timeout(SOON, self.running).await.expect("it ends in time").expect("it does not panic");
    }
}
