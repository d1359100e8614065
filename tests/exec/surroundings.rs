//! What a script finds around it: environment, secrets, directory; and the command's own face.

use std::{collections::BTreeSet, process::Command};

use dlite::proto::runner::v1::{
    Payload, Secret, Task, TaskAssignment, TaskOutcome, TraceContext, attach_response::Frame,
};

use crate::{
    delegate::task,
    lab::{self, Lab},
};

#[tokio::test]
async fn the_environment_is_clean_but_for_what_is_promised_and_configured() {
    let options = "env = { COLOUR = \"blue\" }\npass_env = [\"WANTED\", \"NOT_THERE\"]\ntimeout = \"10m\"";
    let (lab, mut link) = Lab::with_script("env", options).await;
    let told = lab::run(&mut link, "lease-1").await;
    let mut names: Vec<&str> = told.text().lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    // The shell itself adds PWD, and some add OLDPWD, SHLVL and _.
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"));
    let expected = [
        "COLOUR",
        "DLITE_ATTEMPT",
        "DLITE_DEADLINE",
        "DLITE_EXEC_ROOM",
        "DLITE_EXPORT",
        "DLITE_OUTPUT",
        "DLITE_RESULT_FILE",
        "DLITE_TASK_ID",
        "DLITE_TASK_TYPE",
        "DLITE_TIME_REMAINING_MS",
        "HOME",
        "LANG",
        "PATH",
        "WANTED",
    ];
    assert_eq!(names, expected);
    let value = |name: &str| {
        told.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap().to_owned()
    };
    assert_eq!((value("COLOUR"), value("WANTED")), ("blue".to_owned(), "handed on".to_owned()));
    assert_eq!((value("DLITE_TASK_ID"), value("DLITE_TASK_TYPE")), ("task-of-lease-1".to_owned(), "RUN".to_owned()));
    assert_eq!(value("DLITE_ATTEMPT"), "1");
    let remaining: u64 = value("DLITE_TIME_REMAINING_MS").parse().unwrap();
    assert!((590_000..=600_000).contains(&remaining), "{remaining}");
    assert!(value("DLITE_DEADLINE").ends_with('Z'), "{}", value("DLITE_DEADLINE"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_has_descriptor_three_and_none_of_the_runners_own() {
    let (lab, mut link) = Lab::with_script("exec ls /proc/self/fd", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    // The last number is the directory that is listed; whoever runs the tests may have left some open that all programs inherit.
    let plain = Command::new("/bin/sh").args(["-c", "exec ls /proc/self/fd"]).output().unwrap();
    let mut expected: BTreeSet<String> = String::from_utf8(plain.stdout).unwrap().lines().map(str::to_owned).collect();
    expected.extend(["3".to_owned(), "4".to_owned()]);
    assert_eq!(told.text().lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    lab.assert_nothing_left();
}

#[tokio::test]
async fn descriptor_three_is_the_events_also_where_the_runner_inherited_another_one() {
    let (mut lab, link) =
        Lab::with_script("echo '{\"type\":\"output\",\"name\":\"a\",\"value\":\"b\"}' >&3; cat", "").await;
    drop(link);
    lab.kill_runner();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec 3</dev/null; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_dlite")]);
    let mut link = lab.start_through(shell).await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.output_text("a"), told.text()), (TaskOutcome::Succeeded, Some("b"), "lease-1"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn the_trace_goes_on_in_the_script() {
    let (lab, mut link) = Lab::with_script("echo \"$TRACEPARENT $TRACESTATE\"", "").await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let trace = TraceContext { traceparent: traceparent.clone(), tracestate: "a=1".to_owned() };
    let (task, lease_id) = (Some(task("lease-1", "RUN")), "lease-1".to_owned());
    let assignment = TaskAssignment { task, lease_id, trace: Some(trace), ..TaskAssignment::default() };
    link.say_counted(Frame::Assignment(assignment)).await;
    let sequence = link.accept("lease-1").await;
    link.acknowledge(sequence).await;
    assert_eq!(lab::end(&mut link).await.text(), format!("{traceparent} a=1\n"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn secrets_are_private_files_and_show_nowhere_else() {
    let body = "cat $DLITE_SECRETS_DIR/deploy > /dev/null || exit 3\n\
                stat -c '%a %n' $DLITE_SECRETS_DIR $DLITE_SECRETS_DIR/* | sed 's,/.*/,,'\n\
                env | grep -c hunter22\n\
                echo \"the secret is $(cat $DLITE_SECRETS_DIR/deploy), the other swordfish\" >&2\n\
                cat /proc/$PPID/cmdline /proc/$PPID/environ | tr '\\0' ' ' >&2; echo >&2";
    let (lab, mut link) = Lab::with_script(body, "").await;
    let secret =
        |name: &str, value: &'static [u8], mask_only| Secret { name: name.to_owned(), value: value.into(), mask_only };
    let secrets = vec![
        secret("deploy", b"hunter22", false),
        secret("", b"swordfish", true),
        secret("../evil", b"nothing", false),
    ];
    let payload = Some(Payload::text("a payload that is not in any argument"));
    let told = lab::run_task(&mut link, "lease-1", Task { secrets, payload, ..task("lease-1", "RUN") }).await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "700 secrets\n600 deploy\n0\n"), "{told:?}");
    assert_eq!(lab.log_lines("task-of-lease-1")[0], "the secret is ***, the other ***");
    for secret in ["hunter22", "swordfish", "a payload that is not"] {
        assert!(!lab.log().contains(secret), "{secret}");
    }
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_secret_is_in_the_environment_where_the_route_asks_for_it() {
    let (lab, mut link) =
        Lab::with_script("[ \"$TOKEN\" = hunter22 ] && echo yes", "secret_env = { TOKEN = \"deploy\" }").await;
    let secrets = vec![Secret { name: "deploy".to_owned(), value: b"hunter22"[..].into(), mask_only: false }];
    let told = lab::run_task(&mut link, "lease-1", Task { secrets, ..task("lease-1", "RUN") }).await;
    assert_eq!(told.text(), "yes\n");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_starts_in_an_empty_directory_of_its_own_or_where_it_is_told_to() {
    let (lab, mut link) = Lab::with_script("ls -A; touch here; pwd", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert!(told.text().lines().count() == 1 && told.text().ends_with("/work\n"), "{}", told.text());
    lab.assert_nothing_left();
    let (lab, mut link) = Lab::with_script("pwd", "working_dir = \"/usr\"").await;
    assert_eq!(lab::run(&mut link, "lease-1").await.text(), "/usr\n");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_shell_reads_the_command_only_if_asked() {
    let (mut lab, _link) = Lab::with_script("", "").await;
    lab.kill_runner();
    lab.configure("", "[routes.RUN]\nshell = true\ncommand = \"cat | tr a-z A-Z\"\n[routes.PLAIN]\ncommand = [\"/bin/echo\", \"$HOME; echo\"]\n");
    let mut link = lab.start().await;
    assert_eq!(lab::run_with(&mut link, "lease-1", "shout").await.text(), "SHOUT");
    let told = lab::run_task(&mut link, "lease-2", task("lease-2", "PLAIN")).await;
    assert_eq!(told.text(), "$HOME; echo\n");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn check_tells_every_mistake_and_leaves_with_four() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("exec.toml");
    std::fs::write(&file, "runner_id = \"a\"\n[routes.X]\ncomand = [\"/bin/true\"]\nkind = 3\n").unwrap();
    let check = || {
        Command::new(env!("CARGO_BIN_EXE_dlite"))
            .args(["runner", "exec", "--check", "--config"])
            .arg(&file)
            .output()
            .unwrap()
    };
    let output = check();
    let report = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{report}");
    for expected in [
        "exec.toml:3:1: routes.X.comand: unknown key",
        "nearest known: routes.X.command",
        "exec.toml:4:8: routes.X.kind",
    ] {
        assert!(report.contains(expected), "{report}");
    }
    std::fs::write(&file, "runner_id = \"a\"\n[routes.X]\ncommand = [\"/bin/true\"]\n").unwrap();
    assert_eq!(check().status.code(), Some(0));
}

#[test]
fn the_packaged_files_are_valid() {
    for file in ["packaging/exec.toml", "examples/exec/exec.toml"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        dlite::exec::Config::load(&file).unwrap_or_else(|complaints| panic!("{complaints}"));
    }
}
