//! What the delegate tells about itself: one line an event on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError, reload};

use crate::config::{Log, LogFormat};

pub mod notes;
pub mod traces;

/// Which events are told, while the process runs.
pub struct LogFilter {
    /// Absent: somebody else in this process logs already (in tests).
    swap: Option<Swap>,
}

type Swap = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Starts logging for the process; a second call in one process (in tests) changes nothing.
///
/// # Errors
/// If the filter can't be read; the configuration's check has refused that before.
pub fn start(log: &Log) -> Result<LogFilter, ParseError> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    Ok(match log.format {
        LogFormat::Text => {
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            LogFilter::of(builder.try_init().is_ok(), move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let builder = builder.json().with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            LogFilter::of(builder.try_init().is_ok(), move |filter| handle.reload(filter))
        }
    })
}

// === impl LogFilter ===

impl LogFilter {
    fn of(started: bool, swap: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) -> Self {
        Self { swap: started.then(|| Box::new(swap) as Box<_>) }
    }

    /// Tells by other directives from now on.
    ///
    /// # Errors
    /// As [`start`].
    pub fn set(&self, directives: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::builder().parse(directives)?;
        if let Some(swap) = &self.swap {
            // It fails only once the subscriber is gone, when nothing is told any more.
            let _ = swap(filter);
        }
        Ok(())
    }
}
