//! Handlers whose starts a test sees and whose ends it decides.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dlite::sdk::{Context, Failure, Handler, Payload, Runner};
use tokio::sync::{mpsc, oneshot};

use crate::delegate::patiently;

/// Handlers of type "STEP" end when the test says so.
pub struct Steps {
    started: mpsc::UnboundedReceiver<Step>,
    starts: Arc<AtomicUsize>,
}

/// One started handler.
pub struct Step {
    pub context: Context,
    finish: Option<oneshot::Sender<Result<Payload, Failure>>>,
    dropped: oneshot::Receiver<()>,
}

/// Tells the test that the handler's future is gone.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(dropped) = self.0.take() {
            let _ = dropped.send(());
        }
    }
}

impl Steps {
    pub fn handler() -> (Handler, Self) {
        let (sender, started) = mpsc::unbounded_channel();
        let starts = Arc::new(AtomicUsize::new(0));
        let count = starts.clone();
        let handler = Handler::new("STEP", move |context: Context, _: Payload| {
            count.fetch_add(1, Ordering::SeqCst);
            let (finish, finished) = oneshot::channel();
            let (dropped, gone) = oneshot::channel();
            let guard = Dropped(Some(dropped));
            let _ = sender.send(Step { context, finish: Some(finish), dropped: gone });
            async move {
                let _guard = guard;
                finished.await.unwrap_or_else(|_| Err(Failure::errored("TEST_OVER", "the test let go of the step")))
            }
        });
        (handler, Self { started, starts })
    }

    pub fn runner(slots: u32) -> (Runner, Self) {
        let (handler, steps) = Self::handler();
        (Runner::new("runner-1").handler(handler).slots("default", slots), steps)
    }

    /// The next handler that starts.
    pub async fn next(&mut self) -> Step {
        patiently(self.started.recv()).await.expect("the runner lives")
    }

    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }
}

impl Step {
    pub fn finish(&mut self, result: Result<Payload, Failure>) {
        let finish = self.finish.take().expect("finished once");
        assert!(finish.send(result).is_ok(), "the handler runs");
    }

    /// The handler's future is gone.
    pub async fn dropped(&mut self) {
        patiently(&mut self.dropped).await.expect("the guard tells");
    }
}

/// Returns what it gets.
pub fn echo() -> Handler {
    Handler::new("ECHO", |_: Context, payload: Payload| async move { Ok(payload) })
}
