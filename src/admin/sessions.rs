//! Questions and orders about sessions. Never their state.

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, count, refused, short_text, timestamp};
use crate::{
    core::{
        audit::Deed,
        command::Command,
        id::SessionId,
        status::{SESSIONS_SHOWN_MAX, SessionStatus},
    },
    inbox::Question,
    proto::admin::v1 as proto,
    reason::Reason,
};

impl Service {
    pub(super) async fn all_sessions(&self) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let sessions = self.ask(Question::Sessions).await?;
        let truncated = sessions.len() >= SESSIONS_SHOWN_MAX;
        let sessions = sessions.into_iter().map(|session| self.session_view(session)).collect();
        Ok(Response::new(proto::ListSessionsResponse { sessions, truncated }))
    }

    pub(super) async fn end_session(
        &self,
        request: Request<proto::CloseSessionRequest>,
    ) -> Result<Response<proto::CloseSessionResponse>, Status> {
        let by = deed(&request, "sessions close", "");
        let proto::CloseSessionRequest { session_id, reason, force } = request.into_inner();
        let reason = short_text("reason", reason, "closed by the operator")?;
        let session = self.find_session(&session_id).await?;
        let id = self.ids.session(session);
        let arguments = format!("{id} --reason {reason:?}{}", if force { " --force" } else { "" });
        let deed = Deed { arguments: arguments.into(), ..by };
        self.order_by(deed, Command::CloseSession { session, reason, force }).await?;
        Ok(Response::new(proto::CloseSessionResponse {}))
    }

    /// By the delegate's id, or the upstream's if one open session alone has it.
    async fn find_session(&self, name: &str) -> Result<SessionId, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("session_id: needed"));
        }
        if let Some(session) = self.ids.parse_session(name) {
            return Ok(session);
        }
        let sessions = self.ask(Question::Sessions).await?;
        let found: Vec<_> = sessions.iter().filter(|session| *session.external_id == *name).collect();
        match found[..] {
            [one] => Ok(one.session),
            [] => {
                let text = format!("no open session {name}: `dlite sessions list` shows those that are open");
                Err(refused(Reason::SessionUnknown, &text))
            }
            _ => {
                let ids: Vec<_> = found.iter().map(|session| self.ids.session(session.session)).collect();
                let text = format!(
                    "session_id: several open sessions have the upstream's id {name}: say one of {}",
                    ids.join(", ")
                );
                Err(Status::invalid_argument(text))
            }
        }
    }

    fn session_view(&self, session: SessionStatus) -> proto::SessionView {
        proto::SessionView {
            session_id: self.ids.session(session.session),
            upstream: session.upstream.to_string(),
            tenant: session.tenant.to_string(),
            external_id: session.external_id.to_string(),
            phase: session.phase.to_owned(),
            runner_id: session.runner.map(|runner| runner.to_string()).unwrap_or_default(),
            create_time: Some(timestamp(session.created)),
            expire_time: Some(timestamp(session.expires)),
            task_ids: session.tasks.iter().map(|task| self.ids.task(*task)).collect(),
            state_bytes: count(session.state_bytes),
        }
    }
}
