//! The gRPC method itself: lets a peer in and gives it a link.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{
    access::Access,
    link::{self, Outbound, Terms},
};
use crate::{
    core::id::LinkId,
    inbox::Event,
    logs::desk::Desk,
    proto::runner::v1::{AttachRequest, runner_service_server::RunnerService},
};

/// `RunnerService` on one listener.
#[derive(Clone)]
pub struct Service {
    pub terms: Arc<Terms>,
    pub driver: mpsc::Sender<Event>,
    pub access: Access,
    /// Shared by all listeners, so that a link's number is used once in the process.
    pub links: Arc<AtomicU64>,
    pub logs: Desk,
}

#[tonic::async_trait]
impl RunnerService for Service {
    type AttachStream = Outbound;

    async fn attach(&self, request: Request<Streaming<AttachRequest>>) -> Result<Response<Outbound>, Status> {
        let peer = self.access.check(&request).inspect_err(|status| {
            tracing::warn!(reason = status.message(), "runner refused");
        })?;
        let link = LinkId(self.links.fetch_add(1, Ordering::Relaxed));
        let outbound = link::attach(self.terms.clone(), self.driver.clone(), link, peer, request.into_inner());
        Ok(Response::new(outbound))
    }
}
