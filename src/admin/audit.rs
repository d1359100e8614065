//! Who is at the other end of the admin socket, and the deeds on record.

use std::sync::Arc;

use tonic::{Request, Response, Status, transport::server::UdsConnectInfo};

use super::{Service, timestamp};
use crate::{
    core::audit::{AUDITS_MAX, Actor, Audit, Deed},
    inbox::Question,
    proto::admin::v1 as proto,
};

/// Deeds of one answer, if the question names no number.
const DEEDS_USUAL: usize = 100;

/// The deed that a request is. The system vouches for the process at the other end; the rest is the request's own word.
pub(super) fn deed<T>(request: &Request<T>, action: &str, arguments: impl Into<Arc<str>>) -> Deed {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let actor = Actor {
        via: "admin socket".into(),
        uid: peer.map(|peer| peer.uid()),
        pid: peer.and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok()),
    };
    Deed::new(actor, action, arguments)
}

impl Service {
    pub(super) async fn deeds(
        &self,
        request: Request<proto::ListAuditsRequest>,
    ) -> Result<Response<proto::ListAuditsResponse>, Status> {
        let limit = match usize::try_from(request.into_inner().limit).unwrap_or(usize::MAX) {
            0 => DEEDS_USUAL,
            limit => limit.min(AUDITS_MAX),
        };
        let audits = self.ask(|answer| Question::Audits(limit, answer)).await?;
        Ok(Response::new(proto::ListAuditsResponse { audits: audits.iter().map(|audit| view(audit)).collect() }))
    }
}

pub(super) fn view(audit: &Audit) -> proto::AuditView {
    proto::AuditView {
        time: Some(timestamp(audit.at)),
        via: audit.deed.actor.via.to_string(),
        uid: audit.deed.actor.uid,
        pid: audit.deed.actor.pid,
        action: audit.deed.action.to_string(),
        arguments: audit.deed.arguments.to_string(),
        outcome: audit.outcome.to_string(),
    }
}
