//! Waiting for what a record shows.

use std::time::Duration;

use tokio::sync::Notify;

/// What was waited for did not come in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not seen at the double within {waited:?}")]
pub struct TimedOut {
    pub waited: Duration,
}

/// Looks at once and after every change, until `seen` says so.
pub(super) async fn until(changed: &Notify, mut seen: impl FnMut() -> bool, timeout: Duration) -> Result<(), TimedOut> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        // Listening begins before looking, so that no change falls between.
        let next = changed.notified();
        tokio::pin!(next);
        next.as_mut().enable();
        if seen() {
            return Ok(());
        }
        tokio::time::timeout_at(deadline, next).await.map_err(|_| TimedOut { waited: timeout })?;
    }
}
