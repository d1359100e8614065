//! Adapters: each speaks one kind of upstream and translates it into the core's words, and back.
//!
//! An adapter performs single calls, bounded in time. When to call, what to call again and what an answer means for a task is
//! the core's; what the bytes on the wire look like is the adapter's alone.

pub mod certificate;
pub mod check;
pub mod drone;
pub mod harness;
pub mod reload;
pub mod tls;
pub mod transport;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use tokio::sync::watch;

use crate::{
    config::{Config, UpstreamKind},
    core::{
        effect::Call,
        id::{TaskType, UpstreamName},
        input::Answer,
        record::Host,
        task::Kind,
    },
    logs::sink::Sink,
};

/// One configured upstream.
pub trait Upstream: Send + Sync + 'static {
    /// "harness", …: for display and for `Origin.upstream_kind`.
    fn kind(&self) -> &'static str;

    /// Task types that always play the same part in a stage, so that a runner need not say so.
    fn known_kinds(&self) -> Vec<(TaskType, Kind)> {
        Vec::new()
    }

    /// Performs one call. A failure is an answer, too; the future ends within the adapter's own bound.
    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;

    /// Where the logs of its tasks go; `None`: nowhere.
    fn log_sink(&self) -> Option<Arc<dyn Sink>> {
        None
    }

    /// Is told whenever another secret came into force, as its file says; `None`: that can't happen.
    fn secret_changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Ends a registration, as the last act of a stop. An upstream that has no such thing leaves this alone.
    ///
    /// The error says why the upstream may still believe in this delegate.
    fn unregister<'a>(
        &'a self,
        _delegate_id: &'a str,
        _host: &'a Host,
    ) -> Pin<Box<dyn Future<Output = Result<(), Arc<str>>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An adapter that can't be built.
#[derive(Debug, thiserror::Error)]
#[error("upstream {upstream} can't be set up")]
pub struct Error {
    pub upstream: UpstreamName,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The adapters of a configuration.
///
/// # Errors
/// If one can't be built, such as for a CA file that can't be read.
pub fn from_config(config: &Config) -> Result<BTreeMap<UpstreamName, Arc<dyn Upstream>>, Error> {
    let adapters = config.upstreams.iter().map(|upstream| {
        let name = UpstreamName::from(upstream.name.as_str());
        let adapter = match upstream.kind {
            UpstreamKind::Harness => harness::Options::from_config(upstream)
                .and_then(harness::Harness::new)
                .map(|adapter| Arc::new(adapter) as Arc<dyn Upstream>)
                .map_err(Into::into),
            UpstreamKind::Drone => drone::Options::from_config(upstream)
                .and_then(drone::Drone::new)
                .map(|adapter| Arc::new(adapter) as Arc<dyn Upstream>)
                .map_err(Into::into),
        };
        match adapter {
            Ok(adapter) => Ok((name, adapter)),
            Err(source) => Err(Error { upstream: name, source }),
        }
    });
    adapters.collect()
}
