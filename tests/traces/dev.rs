//! `dlite dev --traces`: a newcomer sees a trace without a collector.

use std::process::Stdio;

use crate::lab::binary;

#[test]
fn the_show_prints_each_tasks_trace_as_a_tree() {
    let mut show = binary();
    let output =
        show.args(["dev", "--traces", "--tasks", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    // Four of the pipeline, the aborted one and the batch of one.
    assert_eq!((count("trace "), count("├─ poll "), count("└─ report ")), (6, 6, 6), "{text}");
    assert!(count("├─ run #1 ") >= 5, "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("├─ run #1 ") && line.ends_with("scripts-1 TASK_FAILED")),
        "{text}"
    );
}
