//! The core's notes as log lines. Levels by who needs to act: `warn` the operator, soon; `info` a task's milestones; `debug` the
//! rest.

use crate::{
    core::{effect::Note, logs::LogReceipt},
    reason::Reason,
    runners::ids::Ids,
};
use tracing::{debug, error, info, warn};

/// Writes one line; ids as runners and operators read them, never content.
pub fn log(ids: &Ids, note: &Note) {
    match note {
        Note::NotAcquired { upstream, external_id, task_type, reason } => {
            info!(%upstream, %external_id, %task_type, code = %reason.reason(), %reason, "task left with the upstream");
        }
        Note::Acquired { task, upstream, external_id, task_type, trace_id } => {
            info!(task = ids.task(*task), %upstream, %external_id, %task_type, %trace_id, "task acquired");
        }
        Note::AcquireEnded { upstream, external_id, reason } => {
            info!(%upstream, %external_id, %reason, "acquire brought no task");
        }
        Note::LeaseLost { task, lease, runner, reason, repeats } => {
            warn!(task = ids.task(*task), lease = ids.lease(*lease), %runner, %reason, repeats, "lease lost");
        }
        Note::Assigned { task, runner, attempt } => debug!(task = ids.task(*task), %runner, attempt, "task assigned"),
        Note::Accepted { task, runner } => debug!(task = ids.task(*task), %runner, "task accepted"),
        Note::AssignmentEnded { task, lease, runner, reason } => {
            info!(task = ids.task(*task), lease = ids.lease(*lease), %runner, %reason, "assignment ended before its accept");
        }
        Note::Cancelled { task, external_id, reason } => {
            info!(task = ids.task(*task), %external_id, ?reason, "task is to stop")
        }
        Note::AbortNoted { upstream, external_id } => {
            info!(%upstream, %external_id, "abort of a task that is not here")
        }
        Note::Finished { task, outcome, reason } => info!(task = ids.task(*task), ?outcome, %reason, "task finished"),
        // The upstream's failure is a warning of its own; here one task waits, ever more rarely worth a line.
        Note::StepsUntold { task, upstream, reason } => {
            tracing::warn!(%task, %upstream, %reason, "the upstream is told no more of the task's steps; its result says the rest");
        }
        Note::ReportFailed { task, upstream, tries, reason } if tries.is_power_of_two() => {
            info!(task = ids.task(*task), %upstream, tries, %reason, "result not reported yet");
        }
        Note::ReportFailed { task, upstream, tries, reason } => {
            debug!(task = ids.task(*task), %upstream, tries, %reason, "result not reported yet");
        }
        Note::DeadLetter { task, upstream, external_id, reason } => {
            error!(task = ids.task(*task), %upstream, %external_id, %reason, "result is not sent any more and kept as a dead letter");
        }
        Note::Reported(summary) => info!(
            task = ids.task(summary.task),
            upstream = %summary.upstream,
            external_id = %summary.external_id,
            outcome = ?summary.outcome,
            attempt = summary.attempt,
            trace_id = %summary.trace_id,
            log_lines = summary.logs.iter().map(|log| log.lines).sum::<u64>(),
            log_lines_missing = summary.logs.iter().map(LogReceipt::missing_lines).sum::<u64>(),
            "result reported"
        ),
        // For the task's trace; whatever is worth a line has a note of its own.
        Note::StagesEnded(_) | Note::LogEnded(_) => {}
        Note::HandedBack { task, upstream, external_id, reason, answered } => {
            info!(%task, %upstream, %external_id, %reason, answered, "task handed back for another delegate");
        }
        Note::HandBackRefused { task, upstream, reason } => {
            info!(%task, %upstream, %reason, "task not taken back; its failure is reported instead");
        }
        Note::UpstreamDenies { upstream, denial, reason } => error!(
            %upstream, code = %denial.reason(), %reason,
            "{denial}: nothing more is taken from this upstream; what runs is finished and reported"
        ),
        Note::Moved { upstream, endpoint } => warn!(
            %upstream, %endpoint,
            "the account moved: this process follows until it ends; set the upstream's endpoint to the new address"
        ),
        Note::SelfDestruct { upstream, reason } => error!(
            %upstream, %reason, code = "DELEGATE_DELETED",
            "the upstream wants this delegate gone: nothing more is taken from it; what runs is finished and reported"
        ),
        Note::UpstreamFailing { upstream, reason } => warn!(%upstream, %reason, "upstream fails; tried again"),
        Note::UpstreamRecovered { upstream } => info!(%upstream, "upstream answers again"),
        Note::Registered { upstream, delegate_id } => info!(%upstream, %delegate_id, "registered"),
        Note::Forgotten { upstream } => warn!(%upstream, "the upstream does not know this delegate any more"),
        Note::RunnerAttached { runner, link, held } => info!(%runner, %link, held, "runner attached"),
        Note::RunnerDetached { runner, link } => info!(%runner, %link, "runner detached"),
        Note::RunnerReplaced { runner, by } => warn!(%runner, %by, "a newer instance took the runner id"),
        Note::FrameRefused { link, frame, reason } => debug!(%link, frame, %reason, "frame refused"),
        Note::JournalRolledBack { task, lease } => {
            error!(
                task = ids.task(*task),
                lease = ids.lease(*lease),
                reason = "JOURNAL_ROLLED_BACK",
                "a runner holds an acknowledgement this journal lacks: its tail was lost"
            );
        }
        Note::SessionOpened { session, upstream, external_id, set_up } => {
            info!(session = ids.session(*session), %upstream, %external_id, set_up, "session opened");
        }
        Note::SessionClosing { session, external_id, reason } => {
            info!(session = ids.session(*session), %external_id, %reason, "session is closing");
        }
        Note::SessionOrphaned { session, external_id, runner } => warn!(
            session = ids.session(*session), %external_id, %runner, reason = %Reason::SessionLost,
            "the session's runner stayed away for a lease_ttl: its executes fail, its cleanup goes to any runner"
        ),
        Note::CleanupSynthesized { session, external_id, task } => info!(
            session = ids.session(*session), %external_id, task = ids.task(*task),
            "the upstream sent no cleanup: the delegate runs one of its own"
        ),
        Note::SessionClosed { session, external_id, left_behind: None } => {
            info!(session = ids.session(*session), %external_id, "session closed");
        }
        Note::SessionClosed { session, external_id, left_behind: Some(reason) } => warn!(
            session = ids.session(*session), %external_id, %reason,
            "session closed without a successful cleanup: what its setup made may still be there"
        ),
        Note::StoreFailing { reason } => {
            error!(%reason, reason_code = "STORE_FAILING", "the journal can't write: nothing new is taken");
        }
        Note::Admission { runner, turn } => match turn.closed {
            Some(refusal) => warn!(
                runner = runner.as_ref().map(tracing::field::display), code = %turn.resource.reason(), reason = %refusal,
                "the host is too full: no {} until it is not", turn.claim
            ),
            None => info!(
                runner = runner.as_ref().map(tracing::field::display),
                code = %turn.resource.reason(),
                "the host has room again for {}",
                turn.claim
            ),
        },
        Note::StoreRecovered => info!("the journal writes again"),
        Note::Draining { mode, grace, reason, open } => {
            info!(mode = mode.word(), ?grace, %reason, open, "draining: nothing new is taken");
        }
        Note::DrainGraceOver { open } => info!(open, "the drain waits no longer: what still runs is cancelled"),
        Note::Drained { cancelled, handed_back } => {
            info!(cancelled, handed_back, "drained: nothing is open and every result is reported");
        }
        Note::ReportReplayed { task, upstream, external_id } => {
            info!(task = ids.task(*task), %upstream, %external_id, "result is sent again, by the operator's order");
        }
        Note::ReportDropped { task, upstream, external_id, reason } => {
            warn!(task = ids.task(*task), %upstream, %external_id, %reason, "result dropped, by the operator's order");
        }
        Note::Audited(audit) => {
            let crate::core::audit::Deed { actor, action, arguments } = &audit.deed;
            info!(%actor, action = &**action, arguments = &**arguments, outcome = &*audit.outcome, "deed on record");
        }
        Note::Resumed => info!("the drain was taken back: work is taken again"),
        Note::UpstreamPaused { upstream, reason } => {
            info!(%upstream, %reason, "upstream paused: nothing new is taken from it");
        }
        Note::UpstreamResumed { upstream } => info!(%upstream, "upstream resumed: work is taken from it again"),
        Note::RunnerDrained { runner, grace, reason } => {
            info!(%runner, ?grace, %reason, "runner drained: it gets nothing new, its sessions go on");
        }
        Note::RunnerGraceOver { runner, open } => {
            info!(%runner, open, "the drained runner's grace is over: what it still does is cancelled");
        }
        Note::RunnerResumed { runner } => info!(%runner, "runner resumed: it gets work again"),
    }
}
