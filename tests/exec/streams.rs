//! Standard input, output and error, descriptor 3 and the two files.

use dlite::proto::runner::v1::{TaskOutcome, output::Value};

use crate::lab::{self, Lab};

#[tokio::test]
async fn the_payload_comes_in_on_standard_input_and_the_result_goes_out_on_standard_output() {
    let (lab, mut link) = Lab::with_script("cat", "").await;
    for (content, content_type) in [
        (&b"{\"a\": [1, 2]}\n"[..], "application/json"),
        (b"plain text", "application/octet-stream"),
        (b"\xff\xfe\x00 no text at all", "application/octet-stream"),
    ] {
        let told = lab::run_with(&mut link, &format!("lease-{}", content.len()), content).await;
        assert_eq!((told.outcome(), told.payload()), (TaskOutcome::Succeeded, (content_type, content)));
    }
    lab.assert_nothing_left();
}

#[tokio::test]
async fn an_empty_output_is_a_success_without_payload() {
    let (lab, mut link) = Lab::with_script("cat > /dev/null", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.result.payload.as_ref()), (TaskOutcome::Succeeded, None));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_that_never_reads_a_large_payload_is_not_blocked_and_one_that_does_gets_all_of_it() {
    let (lab, mut link) = Lab::with_script("[ -n \"$1\" ] && wc -c || echo unread", "").await;
    let told = lab::run_with(&mut link, "lease-1", vec![b'x'; 3 << 20]).await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "unread\n"));
    lab.assert_nothing_left();
    let (lab, mut link) = Lab::with_script("wc -c", "").await;
    let told = lab::run_with(&mut link, "lease-1", vec![b'x'; 3 << 20]).await;
    assert_eq!(told.text().trim(), (3 << 20).to_string());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_mebibyte_of_log_is_passed_on_line_by_line_and_the_error_has_its_end() {
    // 16,384 lines of 64 bytes.
    let body = "i=0; while [ $i -lt 16384 ]; do printf '%063d\\n' $i; i=$((i+1)); done >&2; exit 1";
    let (lab, mut link) = Lab::with_script(body, "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.code()), (TaskOutcome::Failed, Some(1)));
    let lines: Vec<String> = (0..16384).map(|number| format!("{number:063}")).collect();
    assert!(lab.log_lines("task-of-lease-1") == lines, "lines are missing or out of order");
    assert_eq!(told.tail(), lines[16384 - 20..].join("\n"));
    assert!(told.message().ends_with(&lines[16383]), "{}", told.message());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_log_beyond_its_bound_is_truncated_with_a_word_and_its_end_is_still_known() {
    let body = "i=0; while [ $i -lt 1000 ]; do echo \"line $i\"; i=$((i+1)); done >&2; exit 1";
    let (lab, mut link) = Lab::with_script(body, "log_bytes_max = 1024").await;
    let told = lab::run(&mut link, "lease-1").await;
    let lines = lab.log_lines("task-of-lease-1");
    assert!((50..200).contains(&lines.len()), "{} lines", lines.len());
    assert!(lab.log().contains("the log is truncated"));
    assert!(told.tail().ends_with("line 998\nline 999"), "{}", told.tail());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_log_that_is_no_text_is_shown_with_replacements() {
    let (lab, mut link) = Lab::with_script("printf 'a\\377\\376b\\n\\000end' >&2; exit 1", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!(told.outcome(), TaskOutcome::Failed);
    assert_eq!(lab.log_lines("task-of-lease-1"), ["a\u{fffd}\u{fffd}b", "\0end"]);
    assert_eq!(told.tail(), "a\u{fffd}\u{fffd}b\n\0end");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_result_beyond_its_bound_is_a_named_error_and_the_file_takes_more() {
    let (lab, mut link) = Lab::with_script("head -c 1048577 /dev/zero", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Errored, "RESULT_TOO_LARGE"));
    assert_eq!((told.code(), told.result.payload.as_ref()), (Some(0), None));
    assert!(told.message().contains("1048576 bytes"), "{}", told.message());
    lab.assert_nothing_left();
    let (lab, mut link) = Lab::with_script("echo chatter; head -c 2097152 /dev/zero > $DLITE_RESULT_FILE", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.payload().1.len()), (TaskOutcome::Succeeded, 2 << 20));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_failed_script_has_the_payload_it_wrote_into_the_file_and_not_its_output() {
    let (lab, mut link) = Lab::with_script("echo half; cat > $DLITE_RESULT_FILE; exit 1", "").await;
    let told = lab::run_with(&mut link, "lease-1", "{\"status\":\"FAILURE\"}").await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Failed, "{\"status\":\"FAILURE\"}"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_result_file_that_is_something_else_is_passed_over() {
    let (lab, mut link) =
        Lab::with_script("ln -s /etc/passwd $DLITE_RESULT_FILE; mkfifo $DLITE_OUTPUT; echo ok", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "ok\n"));
    assert!(lab.log().contains("the result file can't be read"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn descriptor_three_tells_progress_and_outputs_and_bad_lines_hurt_nobody() {
    let body = r#"
printf '{"type":"progress","message":"half way","fraction":0.5}\n' >&3
printf 'no json hunter22\n\n{"type":"dance"}\n' >&3
printf '{"type":"output","name":"image","value":"sha256:abc"}\n' >&3
printf '{"type":"output","name":"counts","value":{"a":1},"sensitive":true}\n' >&3
printf '{"type":"output","name":"","value":1}\n' >&3
printf '{"type":"output","name":"last","value":"without newline"}' >&3
"#;
    let (lab, mut link) = Lab::with_script(body, "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!(told.outcome(), TaskOutcome::Succeeded, "{told:?}");
    // The latest progress wins and any may be lost; the only one that was told is this.
    let progress: Vec<_> = told.progress.iter().map(|told| (told.message.as_str(), told.fraction)).collect();
    assert_eq!(progress, [("half way", Some(0.5))]);
    assert_eq!(told.output_text("image"), Some("sha256:abc"));
    assert_eq!(told.output_text("last"), Some("without newline"));
    let counts = told.output("counts").expect("told");
    assert!(counts.sensitive && counts.value == Some(Value::Json(b"{\"a\":1}"[..].into())));
    assert_eq!(lab.log().matches("a line on descriptor 3 is passed over").count(), 3);
    assert!(!lab.log().contains("hunter22"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn the_outputs_file_tells_outputs_also_of_a_script_that_fails() {
    let body = "{ echo 'VERSION=1.2=3'; echo 'NOTES<<EOF'; echo one; echo two; echo EOF; echo 'bad line'; } >> $DLITE_OUTPUT; exit 1";
    let (lab, mut link) = Lab::with_script(body, "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!(told.outcome(), TaskOutcome::Failed);
    assert_eq!((told.output_text("VERSION"), told.output_text("NOTES")), (Some("1.2=3"), Some("one\ntwo")));
    assert!(lab.log().contains("line 6: neither KEY=value nor KEY<<WORD"));
    lab.assert_nothing_left();
}
