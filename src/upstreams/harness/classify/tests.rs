use super::*;
use crate::upstreams::harness::request::Requests;

const LOST_RACE: &str = r#"{"metaData":null,"resource":null,"responseMessages":[{"code":"DEFAULT_ERROR_CODE","level":"ERROR",
    "message":"An error has occurred.","exception":null,"failureTypes":[]}]}"#;
const HTML: &str = "<!doctype html><html></html>";
const TASK: &str = r#"{"id":"t","type":"X","data":{},"delegate":{"id":"d","instance_id":"i"}}"#;

fn answered(status: u16, body: &str) -> Outcome {
    Ok(Response { status, body: Bytes::copy_from_slice(body.as_bytes()) })
}

fn requests() -> Requests {
    Requests::new("a")
}

fn failures() -> [Outcome; 4] {
    [
        Err(Failure::TimedOut { waited: std::time::Duration::from_secs(30) }),
        Err(Failure::Cut { reason: "reset".into() }),
        Err(Failure::Unconnected { reason: "refused".into() }),
        Err(Failure::TooLarge { max: 1 }),
    ]
}

fn acquired(outcome: &Outcome) -> String {
    let identity = Identity { delegate_id: "d".into(), instance_id: "i".into() };
    let request = requests().acquire("t", &identity).unwrap();
    match acquire(&request, outcome, &"t".into(), &identity) {
        Ok(task) => format!("task {}", task.task_type),
        Err(AcquireError::Refused(text)) => format!("refused {text}"),
        Err(AcquireError::Unassigned) => "unassigned".to_owned(),
        Err(AcquireError::Unanswered(text)) => format!("unanswered {text}"),
    }
}

fn reported(outcome: &Outcome) -> String {
    let request = requests().result_a("t", "d", Vec::new()).unwrap();
    match report(&request, outcome) {
        Ok(()) => "ok".to_owned(),
        Err(ReportError::Refused(text)) => format!("refused {text}"),
        Err(ReportError::Fault(text)) => format!("fault {text}"),
        Err(ReportError::Gone(text)) => format!("gone {text}"),
        Err(ReportError::Unauthorized(text)) => format!("unauthorized {text}"),
        Err(ReportError::Unsent(text)) => format!("unsent {text}"),
        Err(ReportError::Unanswered(text)) => format!("unanswered {text}"),
    }
}

fn said_of<T: fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Ok(value) => format!("ok {value:?}"),
        Err(CallError::Denied(denial, text)) => format!("{} {text}", denial.state()),
        Err(CallError::Deleted(text)) => format!("deleted {text}"),
        Err(CallError::SelfDestruct(text)) => format!("self-destruct {text}"),
        Err(CallError::Failed(text)) => format!("failed {text}"),
    }
}

fn registered(outcome: &Outcome) -> String {
    match register(&requests().register(Vec::new()), outcome) {
        Ok(Enrolled::Granted(id)) => format!("ok {id:?}"),
        Ok(Enrolled::Moved(url)) => format!("moved {url}"),
        Err(error) => said_of::<()>(Err(error)),
    }
}

fn beaten(outcome: &Outcome) -> String {
    said_of(heartbeat(&requests().heartbeat(Vec::new()), outcome))
}

fn polled(outcome: &Outcome) -> String {
    said_of(poll(&requests().poll("d").unwrap(), outcome))
}

/// Each row: status, body, how the result begins, and a word it holds.
fn check(classify: fn(&Outcome) -> String, rows: &[(u16, &str, &str, &str)]) {
    for (status, body, class, word) in rows {
        let result = classify(&answered(*status, body));
        assert!(result.starts_with(class) && result.contains(word), "{status} {body:?}: {result}");
    }
}

#[test]
fn an_acquire_is_refused_only_by_a_server_that_can_have_meant_it() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    check(
        acquired,
        &[
            (200, TASK, "task X", ""),
            (200, r#"{"type":"X","delegate":null}"#, "task X", ""),
            (200, r#"{"id":"t","type":"X","delegate":{"id":null,"instance_id":null}}"#, "unassigned", ""),
            (200, r#"{"id":"t","type":"X","delegate":{"id":"e"}}"#, "refused", "another delegate"),
            (200, r#"{"id":"u","type":"X","delegate":{"id":"d"}}"#, "unanswered", "another task"),
            (200, "{}", "refused", "no task"),
            (204, "", "refused", "204"),
            (500, LOST_RACE, "refused", "500: DEFAULT_ERROR_CODE: An error has occurred."),
            (404, "gone", "refused", "404: gone"),
            (409, "", "refused", "409: an empty answer"),
            (400, r#"{"x":1}"#, "refused", "json without a message"),
            (500, HTML, "unanswered", "html"),
            (404, HTML, "unanswered", "html"),
            (500, &LOST_RACE[..60], "unanswered", "broken json"),
            (500, &long, "unanswered", "501 bytes"),
            (200, HTML, "unanswered", "html"),
            (200, &TASK[..30], "unanswered", "broken json"),
            (200, r#"{"id":7}"#, "unanswered", "another shape"),
            (401, LOST_RACE, "unanswered", "credentials"),
            (403, "", "unanswered", "credentials"),
            (429, "slow down", "unanswered", "slow down"),
            (408, "", "unanswered", "408"),
            (302, "", "unanswered", "redirects"),
            (502, "bad gateway", "unanswered", "502"),
            (503, LOST_RACE, "unanswered", "503"),
            (504, "", "unanswered", "504"),
        ],
    );
    for failure in failures() {
        assert!(acquired(&failure).starts_with("unanswered PUT /api/agent/v2/"), "{}", acquired(&failure));
    }
}

#[test]
fn a_report_is_refused_gone_or_tried_again_by_its_status() {
    check(
        reported,
        &[
            (200, "whatever", "ok", ""),
            (204, "", "ok", ""),
            (200, "{\"cut", "ok", ""),
            (200, HTML, "unanswered", "200: a page of html"),
            (400, LOST_RACE, "refused", "DEFAULT_ERROR_CODE"),
            (413, HTML, "refused", "html"),
            (422, "", "refused", "422"),
            (404, "", "gone", "404"),
            (409, "", "gone", "409"),
            (410, "", "gone", "410"),
            (401, LOST_RACE, "unauthorized", "credentials"),
            (403, "", "unauthorized", "credentials"),
            (500, LOST_RACE, "fault", "An error has occurred."),
            (408, "", "unanswered", "408"),
            (429, "", "unanswered", "429"),
            (502, "", "unanswered", "502"),
            (503, "", "unanswered", "503"),
            (504, "", "unanswered", "504"),
            (501, "", "unanswered", "501"),
            (405, "", "unanswered", "405"),
            (301, "", "unanswered", "redirects"),
            (100, "", "unanswered", "100"),
        ],
    );
    for failure in failures() {
        let class = if matches!(failure, Err(Failure::Unconnected { .. })) { "unsent" } else { "unanswered" };
        let text = reported(&failure);
        assert!(text.starts_with(&format!("{class} POST /api/agent/v2/tasks/{{task}}/")), "{text}");
    }
}

#[test]
fn a_registration_needs_an_id_and_obeys_actions() {
    check(
        registered,
        &[
            (200, r#"{"resource":{"delegateId":"d-1"}}"#, r#"ok "d-1""#, ""),
            (200, r#"{"resource":{"delegateId":"d-1","action":null,"new":1},"metaData":{}}"#, r#"ok "d-1""#, ""),
            (200, r#"{"resource":{"delegateId":"d","action":"SELF_DESTRUCT"}}"#, "self-destruct", "SELF_DESTRUCT"),
            (200, r#"{"resource":{"delegateId":null,"action":"SELF_DESTRUCT"}}"#, "self-destruct", "SELF_DESTRUCT"),
            (
                200,
                r#"{"resource":{"action":"MIGRATE","migrateUrl":"https://new.example.test"}}"#,
                "moved https://new.example.test",
                "",
            ),
            (200, r#"{"resource":{"action":"MIGRATE","migrateUrl":null}}"#, "deleted", "no delegate id (MIGRATE)"),
            (200, r#"{"resource":{"delegateId":null}}"#, "deleted", "no delegate id"),
            (204, "", "address_refused", "allow list"),
            (200, r#"{"resource":null}"#, "failed", "no resource"),
            (200, HTML, "failed", "html"),
            (200, "hunter2", "failed", "200: plain text instead of json"),
            (200, r#"{"resource":{"#, "failed", "broken json"),
            (200, "", "failed", "an empty answer"),
            (401, LOST_RACE, "unauthorized", "credentials"),
            (403, "", "unauthorized", "credentials"),
            (500, LOST_RACE, "failed", "Authorization header"),
            (400, "no", "failed", "400: no"),
            (503, "", "failed", "503"),
        ],
    );
    for failure in failures() {
        assert!(registered(&failure).starts_with("failed"));
    }
}

#[test]
fn an_expired_token_hints_at_the_clock() {
    let body = r#"{"responseMessages":[{"code":"EXPIRED_TOKEN","message":"Unauthorized"}]}"#;
    check(beaten, &[(401, body, "token_expired", "clock")]);
    let revoked = body.replace("EXPIRED", "REVOKED");
    check(beaten, &[(401, &revoked, "token_revoked", "account_secret")]);
    assert!(refuses_token(&answered(401, body)) && !refuses_token(&answered(403, body)));
}

#[test]
fn a_heartbeat_reads_the_standing() {
    check(
        beaten,
        &[
            (200, r#"{"resource":{"status":"ENABLED"}}"#, "ok Known", ""),
            (200, r#"{"resource":{"status":"WAITING_FOR_APPROVAL"}}"#, "ok Known", ""),
            (200, r#"{"resource":null}"#, "ok Known", ""),
            (204, "", "ok Known", ""),
            (200, r#"{"resource":{"status":"DELETED"}}"#, "ok Forgotten", ""),
            (200, HTML, "failed", "html"),
            (500, LOST_RACE, "failed", "500"),
            (401, "", "unauthorized", "credentials"),
        ],
    );
    for failure in failures() {
        assert!(beaten(&failure).starts_with("failed"));
    }
}

#[test]
fn a_poll_lists_tasks_and_aborts_and_leaves_out_the_rest() {
    let body = r#"{"delegateTaskEvents":[null,
        {"eventType":"DelegateTaskEvent","delegateTaskId":"t-1","taskType":"X","sync":true},
        {"delegateTaskId":"t-2","taskType":"Y"},
        {"eventType":"DelegateTaskEvent","delegateTaskId":"t-3","taskType":null},
        {"eventType":"DelegateTaskEvent","delegateTaskId":null,"taskType":"X"},
        {"eventType":"DelegateTaskEvent","delegateTaskId":"..","taskType":"X"},
        {"eventType":"SomethingNew","delegateTaskId":"t-4","taskType":"X"},
        {"eventType":"DelegateTaskAbortEvent","delegateTaskId":"t-5","taskType":null,"sync":false}]}"#;
    let listing = poll(&requests().poll("d").unwrap(), &answered(200, body)).unwrap();
    let tasks: Vec<_> = listing.tasks.iter().map(|l| (l.external_id.as_str(), l.task_type.as_str())).collect();
    assert_eq!(tasks, [("t-1", "X"), ("t-2", "Y")]);
    assert_eq!(listing.aborts, [ExternalId::from("t-5")]);
    let nothing = "ok Listing { tasks: [], aborts: [], quiet: false }";
    check(
        polled,
        &[
            (200, "{}", nothing, ""),
            (200, r#"{"delegateTaskEvents":null}"#, nothing, ""),
            (204, "", nothing, ""),
            (200, HTML, "failed", "html"),
            (200, r#"{"delegateTaskEvents":[{"#, "failed", "broken json"),
            (200, r#"{"delegateTaskEvents":{}}"#, "failed", "another shape"),
            (401, "", "unauthorized", "credentials"),
            (404, "", "failed", "404"),
        ],
    );
    for failure in failures() {
        assert!(polled(&failure).starts_with("failed GET /api/agent/delegates/{delegate}/task-events: "));
    }
}

#[test]
fn a_servers_words_are_one_bounded_line_and_the_same_each_time() {
    let body = format!(r#"{{"responseMessages":[{{"code":"C\n1","message":"{}"}}]}}"#, "é".repeat(1_000));
    let text = reported(&answered(500, &body));
    assert!(text.contains("C 1: éé") && text.ends_with('…') && !text.contains('\n'), "{text}");
    assert!(text.len() < 2 * TEXT_BYTES_MAX, "{}", text.len());
    assert_eq!(text, reported(&answered(500, &body)));
}
