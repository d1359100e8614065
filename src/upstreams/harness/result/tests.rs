use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::core::{
    task::{self, Identity, Kind, Payload, Spec},
    time::Wall,
};

const ALL: [Outcome; 6] =
    [Outcome::Succeeded, Outcome::Failed, Outcome::Errored, Outcome::Cancelled, Outcome::TimedOut, Outcome::Skipped];

fn report(reply: Reply, finish: Finish) -> Answerable {
    let spec =
        Spec { tenant: "acctEXAMPLE1".into(), reply: reply.encode(), ..Spec::new("TYPE_X".into(), Kind::Standalone) };
    Answerable {
        steps: std::sync::Arc::default(),
        told: None,
        started: None,
        finished: Wall(0),
        external_id: "tsk-1".into(),
        identity: Arc::new(Identity { delegate_id: "dlg-1".into(), instance_id: "i-1".into() }),
        spec: Arc::new(spec),
        finish: Arc::new(finish),
        refusal: None,
        hand_back: false,
    }
}

fn ended(outcome: Outcome, payload: Option<&[u8]>, error: Option<(&str, &str)>) -> Finish {
    let error = error.map(|(reason, message)| task::Error {
        code: 13,
        reason: reason.into(),
        message: message.into(),
        blame: task::Blame::UserCode,
        retry: task::Retry::Never,
        retry_delay: None,
        side_effects_possible: None,
    });
    let payload =
        payload.map(|content| Payload { content_type: "x/y".into(), content: Bytes::copy_from_slice(content) });
    Finish { payload, ..Finish::of(outcome, error) }
}

fn sent(report: &Answerable) -> Request {
    result(&Requests::new("acctEXAMPLE1"), report).unwrap()
}

fn body(report: &Answerable) -> String {
    String::from_utf8(sent(report).body.to_vec()).unwrap()
}

fn decoded(report: &Answerable) -> (String, String, Vec<u8>) {
    let body: serde_json::Value = serde_json::from_str(&body(report)).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("code"), text("error"), STANDARD.decode(text("data")).unwrap())
}

#[test]
fn a_success_in_a_is_its_payload_byte_for_byte() {
    let payload = r#"{ "n":1.0 ,"big":123456789012345678901,"s":"\u00e9<é>" }"#.as_bytes();
    let report = report(Reply::A, ended(Outcome::Succeeded, Some(payload), None));
    let request = sent(&report);
    assert_eq!(request.target, "/api/agent/v2/tasks/tsk-1/delegates/dlg-1?accountId=acctEXAMPLE1");
    assert_eq!(
        body(&report),
        r#"{"id":"tsk-1","data":{ "n":1.0 ,"big":123456789012345678901,"s":"\u00e9<é>" },"type":"TYPE_X","code":"OK"}"#
    );
}

#[test]
fn a_failure_in_b_says_so_beside_the_handlers_own_bytes() {
    let payload = b"{\n  \"command_execution_status\": \"FAILURE\"\n}\n";
    let report = report(Reply::B, ended(Outcome::Failed, Some(payload), Some(("STEP_FAILED", "exit 3"))));
    let request = sent(&report);
    assert_eq!(request.target, "/api/executions/tsk-1/response?accountId=acctEXAMPLE1&delegateId=dlg-1");
    assert_eq!(
        body(&report),
        format!(
            r#"{{"id":"tsk-1","type":"TYPE_X","code":"FAILED","error":"STEP_FAILED: exit 3","data":"{}"}}"#,
            STANDARD.encode(payload)
        )
    );
}

#[test]
fn a_task_handed_back_says_so_in_a_and_why() {
    let finish = ended(Outcome::Errored, None, Some(("NO_RUNNER", "nobody is here")));
    let report = Answerable { hand_back: true, ..report(Reply::A, finish) };
    assert_eq!(
        body(&report),
        r#"{"id":"tsk-1","data":{"command_execution_status":"FAILURE","error_message":"NO_RUNNER: nobody is here"},"type":"TYPE_X","code":"RETRY_ON_OTHER_DELEGATE"}"#
    );
}

#[test]
fn each_outcome_has_its_code_and_status_in_each_dialect() {
    let codes = |reply| {
        ALL.map(|outcome| {
            let report = report(reply, ended(outcome, None, None));
            let body: serde_json::Value = serde_json::from_str(&body(&report)).unwrap();
            let data = match &body["data"] {
                serde_json::Value::String(text) => serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap(),
                data => data.clone(),
            };
            format!("{}/{}", body["code"].as_str().unwrap(), data["command_execution_status"].as_str().unwrap())
        })
    };
    let failed = "FAILED/FAILURE";
    assert_eq!(codes(Reply::A), ["OK/SUCCESS", failed, failed, failed, failed, "OK/SKIPPED"]);
    let quiet = "OK/FAILURE";
    assert_eq!(codes(Reply::AAlwaysOk), ["OK/SUCCESS", quiet, quiet, quiet, quiet, "OK/SKIPPED"]);
    for reply in [Reply::B, Reply::C] {
        assert_eq!(codes(reply), ["OK/SUCCESS", failed, failed, failed, "TIMEOUT/TIMEOUT", "OK/SKIPPED"]);
    }
}

#[test]
fn bodies_made_here_say_reason_and_text() {
    let data = |finish| {
        let report = report(Reply::A, finish);
        let body = body(&report);
        body[r#"{"id":"tsk-1","data":"#.len()..body.len() - r#","type":"TYPE_X","code":"FAILED"}"#.len()].to_owned()
    };
    assert_eq!(
        data(ended(Outcome::Errored, None, Some(("LEASE_LOST", "the \"runner\" is gone")))),
        r#"{"command_execution_status":"FAILURE","error_message":"LEASE_LOST: the \"runner\" is gone"}"#
    );
    assert!(data(ended(Outcome::TimedOut, None, Some(("", "late")))).contains("TIMED_OUT: late"));
    assert!(data(ended(Outcome::Cancelled, None, None)).contains("CANCELLED: the handler gave no text"));
    let exited = Finish { exit_code: Some(3), ..ended(Outcome::Failed, Some(b""), None) };
    assert!(data(exited).contains("FAILED: exit code 3"));
    let success = report(Reply::A, ended(Outcome::Succeeded, None, None));
    assert!(body(&success).contains(r#""data":{"command_execution_status":"SUCCESS"},"#));
}

#[test]
fn what_is_no_object_is_wrapped_in_a_and_untouched_in_b() {
    for (payload, inlined) in [
        (&b"[1, 2.0]"[..], r#"{"value":[1, 2.0]}"#),
        (b" \"text\"\n", r#"{"value":"text"}"#),
        (b"null", r#"{"value":null}"#),
        (b" {\"a\" : 1}\n", r#"{"a" : 1}"#),
        (b"plain", r#"{"value_base64":"cGxhaW4="}"#),
        (b"{\"a\":", r#"{"value_base64":"eyJhIjo="}"#),
        (b"{} {}", r#"{"value_base64":"e30ge30="}"#),
        (b"{\"a\":\"\xff\"}", r#"{"value_base64":"eyJhIjoi/yJ9"}"#),
    ] {
        let finish = || ended(Outcome::Succeeded, Some(payload), None);
        assert!(body(&report(Reply::A, finish())).contains(&format!(r#""data":{inlined},"type""#)), "{inlined}");
        let (code, error, data) = decoded(&report(Reply::B, finish()));
        assert_eq!((&*code, &*error, &data[..]), ("OK", "", payload));
    }
}

#[test]
fn a_refused_result_becomes_a_minimal_failure_that_says_why() {
    for reply in [Reply::A, Reply::B, Reply::C] {
        let finish = ended(Outcome::TimedOut, Some(br#"{"huge":1}"#), Some(("X", "y")));
        let refused = Answerable { refusal: Some("400: no".into()), ..report(reply, finish) };
        let body = body(&refused);
        assert!(body.contains("FAILED") && !body.contains("huge"), "{body}");
        let minimal = r#"{"command_execution_status":"FAILURE","error_message":"RESULT_REFUSED: 400: no"}"#;
        let inside = if reply == Reply::A { minimal.to_owned() } else { STANDARD.encode(minimal) };
        assert!(body.contains(&inside), "{body}");
    }
}

#[test]
fn the_same_result_is_the_same_bytes() {
    for reply in [Reply::A, Reply::AAlwaysOk, Reply::B, Reply::C] {
        for outcome in ALL {
            let make = || report(reply, ended(outcome, Some(b"{\"a\" :1}"), Some(("R", "t"))));
            assert_eq!(sent(&make()), sent(&make()));
        }
    }
}

#[test]
fn an_endless_error_text_is_cut_between_characters() {
    let text = "é".repeat(ERROR_BYTES_MAX);
    let report = report(Reply::A, ended(Outcome::Failed, None, Some(("R", &text))));
    let body = body(&report);
    assert!(body.len() < ERROR_BYTES_MAX + 200 && body.contains("é…\""), "{}", body.len());
}

#[test]
fn a_note_of_another_version_is_an_error() {
    let mut report = report(Reply::A, ended(Outcome::Succeeded, None, None));
    let spec = Spec { reply: Bytes::from_static(&[77]), ..(*report.spec).clone() };
    report.spec = Arc::new(spec);
    assert_eq!(result(&Requests::new("a"), &report), Err(Error::Reply(UnknownReply)));
}
