//! What goes wrong at the manager, or on the way, has the right class and a text that names it.

use std::time::Duration;

use dlite::{
    core::input::{AcquireError, CallError, ReportError},
    doubles::manager::{Calls, Fault, Gate, Route},
};

use crate::support::{Pair, register, succeeded, task, task_b};

const OOPS: &str =
    r#"{"metaData":null,"resource":null,"responseMessages":[{"code":"OOPS","level":"ERROR","message":"so it is"}]}"#;

fn status(status: u16) -> Fault {
    Fault::Status(status, OOPS.to_owned())
}

fn of_call<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(CallError::Denied(denial, text)) => format!("{} {text}", denial.state()),
        Err(CallError::Deleted(text)) => format!("deleted {text}"),
        Err(CallError::SelfDestruct(text)) => format!("self-destruct {text}"),
        Err(CallError::Failed(text)) => format!("failed {text}"),
    }
}

/// The call of this route, meeting this fault: class and text.
async fn met(pair: &Pair, route: Route, fault: Fault) -> String {
    let new = if route == Route::ResultB { task_b() } else { task() };
    let id = pair.manager.submit(new).unwrap();
    let spec = match route {
        Route::ResultA | Route::ResultB => Some(pair.acquire(&id).await.unwrap()),
        _ => None,
    };
    pair.manager.fault(route, fault, Calls::Next(1));
    let first = call(pair, route, &id, spec.as_deref()).await;
    // Whatever it was, it is over: the connection is fit for use, or a new one is made.
    let second = call(pair, route, &id, spec.as_deref()).await;
    assert_eq!(second, "ok", "{route:?} after {first}");
    first
}

async fn call(pair: &Pair, route: Route, id: &str, spec: Option<&dlite::core::task::Spec>) -> String {
    match (route, spec) {
        (Route::Register, _) => of_call(register(&pair.harness, Some(pair.host.clone())).await),
        (Route::Heartbeat, _) => of_call(pair.heartbeat(&[]).await),
        (Route::Events, _) => of_call(pair.poll().await),
        (Route::Acquire, _) => match pair.acquire(id).await {
            Ok(_) => "ok".to_owned(),
            Err(AcquireError::Refused(text)) => format!("refused {text}"),
            Err(AcquireError::Unassigned) => "unassigned".to_owned(),
            Err(AcquireError::Unanswered(text)) => format!("unanswered {text}"),
        },
        (Route::ResultA | Route::ResultB, Some(spec)) => match pair.report(id, spec, succeeded("{}")).await {
            Ok(()) => "ok".to_owned(),
            Err(ReportError::Refused(text)) => format!("refused {text}"),
            Err(ReportError::Fault(text)) => format!("fault {text}"),
            Err(ReportError::Gone(text)) => format!("gone {text}"),
            Err(ReportError::Unauthorized(text)) => format!("unauthorized {text}"),
            Err(ReportError::Unsent(text)) => format!("unsent {text}"),
            Err(ReportError::Unanswered(text)) => format!("unanswered {text}"),
        },
        other => panic!("no such call here: {other:?}"),
    }
}

async fn check(routes: &[Route], rows: &[(Fault, &str, &str)]) {
    let pair = Pair::new().await;
    for route in routes {
        for (fault, class, word) in rows {
            let text = met(&pair, *route, fault.clone()).await;
            assert!(text.starts_with(class) && text.contains(word), "{route:?} {fault:?}: {text}");
            assert!(text == *class || text.contains("/api/"), "{route:?} {fault:?}: {text}");
        }
    }
}

#[tokio::test]
async fn calls_about_the_delegate_fail_by_name() {
    check(
        &[Route::Register, Route::Heartbeat, Route::Events],
        &[
            (Fault::Html, "failed", "html"),
            (Fault::Malformed, "failed", "broken json"),
            (Fault::CutBefore, "failed", "connection was lost"),
            (Fault::CutBeforeAnswer, "failed", "connection was lost"),
            (status(400), "failed", "400: OOPS: so it is"),
            (status(401), "unauthorized", "401: OOPS"),
            (status(403), "unauthorized", "account_secret"),
            (status(404), "failed", "404"),
            (status(429), "failed", "429"),
            (status(500), "failed", "500: OOPS"),
            (status(503), "failed", "503: OOPS"),
            (status(302), "failed", "redirects"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_acquire_is_refused_or_unanswered_by_name() {
    check(
        &[Route::Acquire],
        &[
            (Fault::Html, "unanswered", "html"),
            (Fault::Malformed, "unanswered", "broken json"),
            (Fault::CutBefore, "unanswered", "connection was lost"),
            (Fault::CutBeforeAnswer, "unanswered", "connection was lost"),
            (status(401), "unanswered", "account_secret"),
            (status(403), "unanswered", "account_secret"),
            (status(404), "refused", "404: OOPS: so it is"),
            (status(409), "refused", "409"),
            (status(500), "refused", "500"),
            (Fault::Status(404, "no such task".into()), "refused", "404: no such task"),
            (Fault::Status(500, "<html></html>".into()), "unanswered", "html"),
            (Fault::Status(204, String::new()), "refused", "204"),
            (Fault::Status(200, "{}".into()), "refused", "no task"),
            (status(502), "unanswered", "502"),
            (status(503), "unanswered", "503"),
            (status(504), "unanswered", "504"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_report_is_refused_gone_or_to_be_sent_again_by_name() {
    check(
        &[Route::ResultA, Route::ResultB],
        &[
            // The manager never saw the result, whatever the page's status says.
            (Fault::Html, "unanswered", "html"),
            (Fault::Malformed, "ok", ""),
            (Fault::CutBefore, "unanswered", "connection was lost"),
            (Fault::CutBeforeAnswer, "unanswered", "connection was lost"),
            (status(400), "refused", "400: OOPS: so it is"),
            (status(413), "refused", "413"),
            (status(422), "refused", "422"),
            (status(401), "unauthorized", "account_secret"),
            (status(403), "unauthorized", "account_secret"),
            (status(404), "gone", "404"),
            (status(409), "gone", "409"),
            (status(410), "gone", "410"),
            (status(500), "fault", "500: OOPS: so it is"),
            (status(408), "unanswered", "408"),
            (status(429), "unanswered", "429"),
            (status(502), "unanswered", "502"),
            (status(503), "unanswered", "503"),
            (status(302), "unanswered", "redirects"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_ends_the_call() {
    let pair = Pair::with(|options| options.request_timeout = Duration::from_millis(300)).await;
    for route in [Route::Register, Route::Heartbeat, Route::Events, Route::Acquire, Route::ResultA, Route::ResultB] {
        let new = if route == Route::ResultB { task_b() } else { task() };
        let id = pair.manager.submit(new).unwrap();
        let spec = match route {
            Route::ResultA | Route::ResultB => Some(pair.acquire(&id).await.unwrap()),
            _ => None,
        };
        // Nobody opens it.
        pair.manager.fault(route, Fault::Hold(Gate::new()), Calls::Next(1));
        let text = call(&pair, route, &id, spec.as_deref()).await;
        assert!(text.starts_with("failed") || text.starts_with("unanswered"), "{text}");
        assert!(text.contains("no answer within 300ms"), "{text}");
    }
}

#[tokio::test]
async fn a_manager_that_is_down_is_no_answer_and_one_that_is_back_is() {
    let pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    pair.manager.down();
    for _ in 0..3 {
        assert!(call(&pair, Route::ResultA, &id, Some(&spec)).await.starts_with("unanswered POST "));
        assert!(call(&pair, Route::Events, &id, None).await.starts_with("failed GET "));
    }
    pair.manager.up();
    assert_eq!(call(&pair, Route::ResultA, &id, Some(&spec)).await, "ok");
    assert_eq!(pair.manager.task(&id).unwrap().repeats.total(), 0);
}
