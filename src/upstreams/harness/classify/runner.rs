//! What the answers of the runner family hold.

use super::{Outcome, about, call, given, read};
use crate::{
    core::{
        id::ExternalId,
        input::{AcquireError, CallError, Listed, Listing},
    },
    upstreams::harness::{
        request::{Request, check_task_id},
        spec::runner::is_unsupported,
        stage::kind_of,
        wire::runner,
    },
};

/// What the manager offers. The family knows no abort.
pub(in super::super) fn poll(request: &Request, outcome: &Outcome) -> Result<Listing, CallError> {
    let response = call(request, outcome)?;
    if response.status == 204 {
        return Ok(Listing::default());
    }
    let answer: runner::Events = read(request, response).map_err(CallError::Failed)?;
    let mut listing = Listing::default();
    for event in answer.delegate_runner_events.into_iter().flatten() {
        if let Err(error) = check_task_id(&event.task_id) {
            tracing::debug!(%error, "left out a runner event");
        } else if event.task_type.is_empty() {
            tracing::debug!(task = event.task_id, "left out a runner event without a type");
        } else {
            let unsupported = is_unsupported(&event.task_type);
            let external_id = ExternalId::from(event.task_id);
            let kind = kind_of(&event.task_type);
            let task_type = event.task_type.into();
            listing.tasks.push(Listed { external_id, task_type, kind, labels: None, unsupported });
        }
    }
    Ok(listing)
}

/// The request, which is ours now, and which has a task with a type.
pub(in super::super) fn acquire<'a>(
    request: &Request,
    outcome: &'a Outcome,
) -> Result<runner::Request<'a>, AcquireError> {
    let response = given(request, outcome)?;
    let answer: runner::Requests<'_> = read(request, response).map_err(AcquireError::Unanswered)?;
    // The answer is about one task, and no more than one was ever seen in it.
    let first = answer.requests.into_iter().flatten().next();
    first
        .filter(|first| !first.task.task_type.is_empty())
        .ok_or_else(|| AcquireError::Refused(about(request, "the answer holds no task")))
}
