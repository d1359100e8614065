//! What the delegate tells about itself: one line an event on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::fmt::writer::MakeWriterExt as _;

use self::{
    level::{BadDirectives, LogFilter},
    recent::Tap,
};
use crate::config::{Log, LogFormat};

pub mod events;
pub mod level;
pub mod metrics;
pub mod notes;
mod otlp;
pub mod recent;
pub mod resources;
pub mod traces;

/// Starts logging for the process; a second call in one process (in tests) changes nothing.
///
/// # Errors
/// If the filter can't be read; the configuration's check has refused that before.
pub fn start(log: &Log) -> Result<LogFilter, BadDirectives> {
    let filter = level::parse(&log.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr.and(Tap))
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    Ok(match log.format {
        LogFormat::Text => {
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            LogFilter::of(&log.filter, builder.try_init().is_ok(), move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let builder = builder.json().with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            LogFilter::of(&log.filter, builder.try_init().is_ok(), move |filter| handle.reload(filter))
        }
    })
}
