//! Scripts in sessions: the state as a file, exported variables from step to step.

use dlite::proto::runner::v1::{ExportedVariable, OutputScope, Payload, Session, TaskOutcome};
use serde_json::json;

use crate::{
    delegate::{session, task},
    lab::{self, Lab},
};

fn variable(name: &str, value: &str, sensitive: bool) -> ExportedVariable {
    ExportedVariable { name: name.to_owned(), value: value.to_owned(), sensitive }
}

#[tokio::test]
async fn a_script_finds_its_session_and_what_it_leaves_in_the_file_is_the_state_from_then_on() {
    let script = r#"
cat "$DLITE_SESSION_STATE" "$DLITE_SESSION_SENSITIVE_STATE"
stat -c ' %a' "$DLITE_SESSION_STATE"
echo "$DLITE_SESSION_ID $DLITE_SESSION_EXTERNAL_ID"
printf '{"n":2}' > "$DLITE_SESSION_STATE"
"#;
    let (lab, mut link) = Lab::with_script(script, "kind = \"execute\"").await;
    let sensitive_state = Some(Payload::text("hush"));
    let stage = Session { sensitive_state, ..session("e1", Some(json!({ "n": 1 }))) };
    let told = lab::run_in(&mut link, stage, "lease-1").await;
    assert_eq!(told.text(), "{\"n\":1}hush 600\nsession-1 stg-77-ci-Ab3\n");
    let change = told.result.session_state.expect("a change");
    assert_eq!((change.expected_etag.as_str(), change.sensitive_state), ("e1", None));
    assert_eq!(change.state, Some(Payload::new("application/json", r#"{"n":2}"#)));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_state_that_nobody_touched_is_not_set_and_neither_is_that_of_a_script_that_failed() {
    let script = r#"[ "$DLITE_SESSION_ID" = session-1 ] || exit 9
payload=$(cat)
[ "$payload" = fail ] && { echo new > "$DLITE_SESSION_STATE"; exit 1; }
[ "$payload" = remove ] && rm "$DLITE_SESSION_STATE"
exit 0"#;
    let (_lab, mut link) = Lab::with_script(script, "").await;
    for (payload, outcome) in
        [("leave", TaskOutcome::Succeeded), ("remove", TaskOutcome::Succeeded), ("fail", TaskOutcome::Failed)]
    {
        let given = dlite::proto::runner::v1::Task { payload: Some(Payload::text(payload)), ..task(payload, "RUN") };
        link.start_in(session("e1", Some(json!("old"))), payload, given).await;
        let told = lab::end(&mut link).await;
        assert_eq!((told.outcome(), told.result.session_state), (outcome, None), "{payload}");
    }
}

#[tokio::test]
async fn a_state_that_is_too_large_is_an_error_and_not_lost_in_silence() {
    let script = "head -c 300000 /dev/zero > \"$DLITE_SESSION_STATE\"";
    let (_lab, mut link) = Lab::with_script(script, "").await;
    let told = lab::run_in(&mut link, session("e1", None), "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Errored, "SESSION_STATE_INVALID"));
    assert_eq!(told.message(), "$DLITE_SESSION_STATE has more than 196608 bytes");
}

#[tokio::test]
async fn exported_variables_go_from_step_to_step_and_sensitive_ones_are_files_that_the_log_does_not_show() {
    let script = r#"
echo "$SHA ${PATH#/evil} ${REGION} ${TOKEN-unset}"
cat "$DLITE_SECRETS_DIR/TOKEN"
echo "the token is $(cat "$DLITE_SECRETS_DIR/TOKEN") or $GIVEN" >&2
echo 'VERSION=1.2' >> "$DLITE_EXPORT"
echo 'PLAIN=yes' >> "$DLITE_OUTPUT"
echo '{"type":"output","name":"NEXT_TOKEN","value":"hush-2","sensitive":true,"export":true}' >&3
echo '{"type":"output","name":"N","value":7,"export":true}' >&3
"#;
    let options = "env = { REGION = \"eu\" }\nsecret_env = { GIVEN = \"TOKEN\" }";
    let (lab, mut link) = Lab::with_script(script, options).await;
    let exported_variables = vec![
        variable("SHA", "11aa", false),
        variable("TOKEN", "hush-token", true),
        variable("PATH", "/evil", false),
        variable("REGION", "the route's counts", false),
    ];
    let stage = Session { exported_variables, ..session("e1", None) };
    let told = lab::run_in(&mut link, stage, "lease-1").await;
    assert_eq!(told.outcome(), TaskOutcome::Succeeded, "{told:?}");
    let text = told.text();
    assert!(text.starts_with("11aa /") && text.ends_with(" eu unset\nhush-token"), "{text}");
    assert!(!text.contains("/evil"), "{text}");
    assert_eq!(lab.log_lines("task-of-lease-1"), ["the token is *** or ***"]);
    assert_eq!(told.output_text("VERSION"), Some("1.2"));
    assert_eq!(told.output("VERSION").expect("an output").scope(), OutputScope::Exported);
    let next = told.output("NEXT_TOKEN").expect("an output");
    assert!(next.scope() == OutputScope::Exported && next.sensitive);
    assert_eq!(told.output("N"), None, "only texts are exported");
    assert_eq!(told.output("PLAIN").expect("an output").scope(), OutputScope::Unspecified);
    let log = lab.log();
    assert!(log.contains("an exported variable can't be in an environment") && log.contains("PATH"), "{log}");
}

#[tokio::test]
async fn a_cleanup_route_has_slots_of_its_own() {
    let (mut lab, _link) = Lab::with_script("exit 0", "").await;
    lab.kill_runner();
    let routes = "[routes.RUN]\ncommand = [\"/bin/sleep\", \"600\"]\n[routes.CLEAN]\ncommand = [\"/bin/true\"]\nkind = \"cleanup\"\n";
    lab.configure("", routes);
    let mut link = lab.start().await;
    link.start("lease-1", "RUN").await;
    link.update().await;
    link.start_in(session("e1", None), "lease-2", task("lease-2", "CLEAN")).await;
    let (_, result) = link.result().await;
    assert_eq!((result.lease_id.as_str(), result.outcome()), ("lease-2", TaskOutcome::Succeeded));
}
