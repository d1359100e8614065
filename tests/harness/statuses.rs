//! Each status of the table in the wire reference, 1, leads to the class that is documented, for calls of every kind in both families.
//! What has no body of the manager's own (pages, cuts, proxies' statuses) is in the target `upstreams`.

use dlite::{
    core::input::{AcquireError, CallError, ReportError},
    doubles::manager::{Calls, Fault, NewTask, Route},
    upstreams::harness::Family,
};

use crate::support::{Pair, TYPE, register, succeeded, task};

/// Status and code of the manager, and what follows for a call about the delegate, an acquire and a report.
const TABLE: [(u16, &str, [&str; 3]); 12] = [
    (400, "INVALID_REQUEST", ["failed", "refused", "refused"]),
    (400, "INVALID_ARGUMENT", ["failed", "refused", "refused"]),
    (400, "DEFAULT_ERROR_CODE", ["failed", "refused", "refused"]),
    (400, "USAGE_LIMITS_EXCEEDED", ["failed", "refused", "refused"]),
    (401, "INVALID_TOKEN", ["unauthorized", "unanswered", "unauthorized"]),
    (401, "EXPIRED_TOKEN", ["token_expired", "unanswered", "unauthorized"]),
    (401, "REVOKED_TOKEN", ["token_revoked", "unanswered", "unauthorized"]),
    (401, "INVALID_AGENT_MTLS_AUTHORITY", ["unauthorized", "unanswered", "unauthorized"]),
    (404, "", ["failed", "refused", "gone"]),
    (405, "", ["failed", "refused", "unanswered"]),
    (415, "", ["failed", "refused", "unanswered"]),
    (500, "DEFAULT_ERROR_CODE", ["failed", "refused", "fault"]),
];

fn envelope(code: &str) -> String {
    let message = format!(r#"{{"code":"{code}","level":"ERROR","message":"m","exception":null,"failureTypes":[]}}"#);
    let messages = if code.is_empty() { "" } else { &message };
    format!(r#"{{"metaData":null,"resource":null,"responseMessages":[{messages}]}}"#)
}

fn of_call<T>(result: Result<T, CallError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(CallError::Denied(denial, _)) => denial.state(),
        Err(CallError::Deleted(_)) => "deleted",
        Err(CallError::SelfDestruct(_)) => "self-destruct",
        Err(CallError::Failed(_)) => "failed",
    }
}

async fn check(family: Family, routes: [Route; 5], new: fn() -> NewTask) {
    let pair = Pair::with(|options| options.family = family).await;
    for (status, code, [delegate, acquire, report]) in TABLE {
        let row = format!("{family:?} {status} {code}");
        for route in routes {
            pair.manager.fault(route, Fault::Status(status, envelope(code)), Calls::Next(1));
        }
        assert_eq!(of_call(register(&pair.harness, Some(pair.host.clone())).await), delegate, "{row}: register");
        assert_eq!(of_call(pair.heartbeat(&[]).await), delegate, "{row}: heartbeat");
        assert_eq!(of_call(pair.poll().await), delegate, "{row}: poll");
        let id = pair.manager.submit(new()).unwrap();
        let class = match pair.acquire(&id).await {
            Ok(_) => "ok",
            Err(AcquireError::Refused(_)) => "refused",
            Err(AcquireError::Unassigned) => "unassigned",
            Err(AcquireError::Unanswered(_)) => "unanswered",
        };
        assert_eq!(class, acquire, "{row}: acquire");
        // Whatever it was, it is over.
        let spec = pair.acquire(&id).await.unwrap();
        let class = match pair.report(&id, &spec, succeeded("{}")).await {
            Ok(()) => "ok",
            Err(ReportError::Refused(_)) => "refused",
            Err(ReportError::Fault(_)) => "fault",
            Err(ReportError::Gone(_)) => "gone",
            Err(ReportError::Unauthorized(_)) => "unauthorized",
            Err(ReportError::Unsent(_)) => "unsent",
            Err(ReportError::Unanswered(_)) => "unanswered",
        };
        assert_eq!(class, report, "{row}: report");
        assert_eq!(pair.report(&id, &spec, succeeded("{}")).await, Ok(()), "{row}");
    }
}

#[tokio::test]
async fn each_status_has_its_class_in_the_legacy_family() {
    let routes = [Route::Register, Route::Heartbeat, Route::Events, Route::Acquire, Route::ResultA];
    check(Family::Legacy, routes, task).await;
}

#[tokio::test]
async fn each_status_has_its_class_in_the_runner_family() {
    let routes = [Route::Register, Route::Heartbeat, Route::RunnerEvents, Route::Request, Route::ResultC];
    check(Family::Runner, routes, || NewTask::for_runners(TYPE, "{}")).await;
}
