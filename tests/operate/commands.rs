//! Every command has a test that bears its name and help that a newcomer can follow. What is tested elsewhere in this target is found
//! there; the rest is here.

use std::process::Stdio;

use crate::{
    lab::{Lab, SOON, binary},
    say::{Said, json, say, text},
};

/// The commands at the ends of the tree, hidden ones left out: each as its path.
fn leaves(command: &clap::Command, path: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let subs: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help").collect();
    let mut leaves = Vec::new();
    // `dlite dev` does something by itself, too.
    if subs.is_empty() || (!path.is_empty() && !command.is_subcommand_required_set()) {
        leaves.push((path.to_vec(), command.clone()));
    }
    for sub in subs {
        let path = [path, &[sub.get_name().to_owned()]].concat();
        leaves.extend(self::leaves(sub, &path));
    }
    leaves
}

fn all() -> Vec<(Vec<String>, clap::Command)> {
    let whole = dlite::cli::command();
    leaves(&whole, &[])
}

/// What this target is made of.
fn sources() -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operate");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_command_has_a_test_that_bears_its_name() {
    let sources = sources();
    let missing: Vec<_> = all()
        .into_iter()
        .map(|(path, _)| path.join("_").replace('-', "_"))
        .filter(|name| !sources.contains(&format!("fn {name}_")))
        .collect();
    assert!(missing.is_empty(), "no test function begins with: {missing:?}");
}

#[test]
fn every_command_says_what_it_does_with_an_example_and_its_exit_codes() {
    for (path, command) in all() {
        let name = path.join(" ");
        assert!(command.get_about().is_some_and(|about| about.to_string().len() > 10), "{name} has no about");
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Exit codes: 0"), "{name} does not tell its exit codes");
        assert!(after.contains("Example:\n  "), "{name} has no example");
        assert!(
            after.contains(&format!("dlite {name}")) || after.contains(&name),
            "the example of {name} is another's"
        );
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
        }
    }
}

#[test]
fn help_is_printed_by_the_binary_for_every_command() {
    for (path, _) in all() {
        let done = binary().args(&path).arg("--help").stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains("Usage:") && said.contains("Exit codes"), "{path:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{path:?} is coloured though nobody sees it");
    }
    let done = binary().arg("--help").stdout(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("Start here:"));
}

#[test]
fn a_slip_of_the_pen_is_exit_code_2_and_names_what_was_meant() {
    let done = binary().args(["taks", "list"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("tasks"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_delegate_its_commands_exit_with_3_and_say_where_they_looked() {
    let lab = Lab::new().await;
    for words in [
        &["status"][..],
        &["drain"],
        &["resume"],
        &["reload"],
        &["tasks", "list"],
        &["sessions", "list"],
        &["reports", "list"],
        &["audit", "list"],
        &["events", "-f"],
        &["log", "level"],
    ] {
        let said = say(&lab, words).await;
        assert!(said.code == Some(3) && said.err.contains("a.sock"), "{words:?}: {:?} {}", said.code, said.err);
    }
}

// === one test a command ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_serves_until_a_signal_and_refuses_a_configuration_with_mistakes() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(lab.stop_delegate(), Some(0));
    lab.configure("weight = 0");
    assert_eq!(say(&lab, &["run"]).await.code, Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_check_is_4_with_every_mistake() {
    let lab = Lab::new().await;
    assert!(text(&lab, &["config", "check"]).await.starts_with("ok:"));
    lab.configure("weight = 0\npoll_intervall = \"1s\"");
    let said = say(&lab, &["config", "check"]).await;
    assert!(said.code == Some(4) && said.err.contains("weight") && said.err.contains("poll_interval"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_show_tells_sources_and_no_secret() {
    let lab = Lab::new().await;
    let shown = text(&lab, &["config", "show", "--sources"]).await;
    assert!(shown.contains("dlite.toml:") && !shown.contains(crate::lab::SECRET), "{shown}");
    assert!(json(&lab, &["config", "show"]).await["settings"].as_array().unwrap().len() > 20);
}

fn alone(words: &[&str]) -> Said {
    let done = binary().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

#[tokio::test]
async fn config_init_writes_a_file_of_mode_0600_that_is_right_and_overwrites_nothing() {
    use std::os::unix::fs::MetadataExt as _;
    let lab = Lab::new().await;
    let path = |name: &str| lab.path(name).display().to_string();
    let (file, secret) = (path("new.toml"), path("secret"));
    let words = [
        "config",
        "init",
        "--url",
        "https://manager.example",
        "--account",
        "acctLAB0000000000001",
        "--token-file",
        &secret,
        "--name",
        "builder",
        "--output",
        &file,
    ];
    let made = alone(&words);
    assert_eq!(made.code, Some(0), "{}{}", made.out, made.err);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let checked = alone(&["config", "check", "--config", &file]);
    assert!(checked.code == Some(0) && checked.out.contains("builder"), "{}{}", checked.out, checked.err);
    let again = alone(&words);
    assert!(again.code == Some(1) && again.err.contains("--force"), "{}", again.err);
    assert_eq!(alone(&[&words[..], &["--force"]].concat()).code, Some(0));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(crate::lab::SECRET));

    let drone = path("drone.toml");
    let made = alone(&[
        "config",
        "init",
        "--upstream",
        "drone",
        "--url",
        "https://drone.example",
        "--token-file",
        &secret,
        "--output",
        &drone,
    ]);
    assert_eq!(made.code, Some(0), "{}{}", made.out, made.err);
    assert!(alone(&["config", "check", "--config", &drone]).out.contains("upstream drone"));
    let bad = alone(&[
        "config",
        "init",
        "--url",
        "x",
        "--account",
        "a",
        "--token-file",
        &secret,
        "--output",
        &path("bad.toml"),
    ]);
    assert!(bad.code == Some(4) && bad.err.contains("endpoint"), "{:?} {}", bad.code, bad.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_state_upstreams_runners_counts_and_what_it_costs() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 3);
    lab.status_when("a runner is attached", |status| status.runners.len() == 1).await;
    let shown = text(&lab, &["status"]).await;
    for word in [
        "serving",
        env!("CARGO_PKG_VERSION"),
        "0 open tasks",
        "0 unreported results",
        "of logs on their way",
        "r-1",
        "0/3",
        "CERTIFICATE ENDS",
    ] {
        assert!(shown.contains(word), "{word:?} in {shown}");
    }
    assert!(!shown.contains("memory ") || shown.contains("admission"), "{shown}");
    let shown = text(&lab, &["status", "--resources"]).await;
    assert!(shown.contains("open files of") && shown.contains("CPU"), "{shown}");
    let shown = json(&lab, &["status", "--resources"]).await;
    assert_eq!((&shown["state"], &shown["open_task_count"]), (&"serving".into(), &0.into()));
    let resources = &shown["resources"];
    assert!(resources["journal_bytes"].as_u64().unwrap() > 0, "{resources:#}");
    if cfg!(target_os = "linux") {
        assert!(
            resources["resident_bytes"].as_u64().unwrap() > 1 << 20 && resources["open_files"].as_u64().unwrap() > 3,
            "{resources:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_waits_until_it_is_over() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    text(&lab, &["drain", "--wait", "--grace", "5s"]).await;
    assert_eq!(lab.status().await.state, "drained");
    assert_eq!(say(&lab, &["drain"]).await.code, Some(1), "there is one already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_takes_a_drain_back() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(say(&lab, &["resume"]).await.code, Some(1), "there is none");
    text(&lab, &["drain"]).await;
    text(&lab, &["resume"]).await;
    assert_eq!(lab.status().await.state, "serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_names_what_changed_and_what_waits_for_a_restart() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(text(&lab, &["reload"]).await, "nothing changed\n");
    lab.configure("weight = 7\ntags = [\"new\"]");
    let said = text(&lab, &["reload"]).await;
    assert!(said.contains("weight") && said.contains("waits for a restart: upstreams[m].tags"), "{said}");
}

/// A task that runs for a minute; its id at the manager.
async fn at_work(lab: &mut Lab) -> String {
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 60_000);
    lab.status_when("a task is open", |status| status.open_task_count == 1).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_list_shows_what_each_waits_for() {
    let mut lab = Lab::new().await;
    let id = at_work(&mut lab).await;
    let table = text(&lab, &["tasks", "list"]).await;
    assert!(table.contains(&id) && table.contains("WAITS FOR"), "{table}");
    assert_eq!(json(&lab, &["tasks", "list"]).await[0]["external_id"], id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_get_shows_one_by_either_id_and_no_payload() {
    let mut lab = Lab::new().await;
    let id = at_work(&mut lab).await;
    let shown = text(&lab, &["tasks", "get", &id]).await;
    assert!(shown.contains("DEV_WORK") && !shown.contains("60000"), "{shown}");
    let ours = lab.tasks().await[0].task_id.clone();
    assert!(text(&lab, &["tasks", "get", &ours]).await.contains(&id));
    assert_eq!(say(&lab, &["tasks", "get", "no-such"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_cancel_ends_it_at_its_manager() {
    let mut lab = Lab::new().await;
    let id = at_work(&mut lab).await;
    text(&lab, &["tasks", "cancel", &id, "--force", "--yes"]).await;
    lab.manager_when("an answer", |record| record.effective(&id).is_some(), SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_logs_says_when_there_is_none_here() {
    let mut lab = Lab::new().await;
    let id = at_work(&mut lab).await;
    let said = say(&lab, &["tasks", "logs", &id]).await;
    assert!(said.code == Some(0) || said.err.contains("no log"), "{:?} {}", said.code, said.err);
    let said = say(&lab, &["tasks", "logs", "no-such"]).await;
    assert!(said.code == Some(1) && said.err.contains("no-such"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_list_says_when_none_is_open() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(text(&lab, &["sessions", "list"]).await, "no open session\n");
    assert_eq!(json(&lab, &["sessions", "list"]).await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_close_names_one_that_is_not_there() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let said = say(&lab, &["sessions", "close", "s-nobody", "--force", "--yes"]).await;
    assert!(said.code == Some(1) && said.err.contains("s-nobody"), "{:?} {}", said.code, said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_check_walks_the_way_and_needs_no_delegate() {
    let lab = Lab::new().await;
    assert!(text(&lab, &["upstreams", "check", "m"]).await.contains("the way is clear"));
    assert_eq!(say(&lab, &["upstreams", "check", "other"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_list_shows_what_is_configured() {
    let lab = Lab::new().await;
    assert!(text(&lab, &["upstreams", "list"]).await.contains("acctLAB0000000000001"));
    assert_eq!(json(&lab, &["upstreams", "list"]).await[0]["name"], "m");
}

#[tokio::test]
async fn runner_exec_checks_its_file() {
    let lab = Lab::new().await;
    let file = lab.path("exec.toml");
    std::fs::write(&file, "runner_id = \"s\"\n[routes.GREET]\ncommand = [\"/bin/true\"]\n").unwrap();
    let file = file.display().to_string();
    let said = alone(&["runner", "exec", "--check", "--config", &file]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    std::fs::write(&file, "runner_id = \"s\"\nslotz = 3\n").unwrap();
    let said = alone(&["runner", "exec", "--check", "--config", &file]);
    assert!(said.code == Some(4) && said.err.contains("slots"), "{:?} {}", said.code, said.err);
}

#[test]
fn runner_pipeline_checks_its_file() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("pipeline.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        alone(&["runner", "pipeline", "--check", "--config", file.to_str().unwrap()])
    };
    let said = check("runner_id = \"p\"\n");
    assert!(said.code == Some(0) && said.out.contains("stages at once"), "{:?} {}", said.code, said.err);
    let said = check("runner_id = \"p\"\nslotz = 3\n");
    assert!(said.code == Some(4) && said.err.contains("slots"), "{:?} {}", said.code, said.err);
}

#[test]
fn runner_pipeline_lint_says_what_would_run_and_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join(".drone.yml");
    let lint = |text: &str| {
        std::fs::write(&file, text).unwrap();
        alone(&["runner", "pipeline", "lint", file.to_str().unwrap()])
    };
    let said = lint("kind: pipeline\ntype: exec\nname: build\nsteps:\n- name: greet\n  commands: [echo hello]\n");
    assert!(said.code == Some(0) && said.out.contains("greet"), "{:?} {}{}", said.code, said.out, said.err);
    let said = lint("kind: pipeline\ntype: exec\nname: build\nsteps: 3\n");
    assert!(said.code == Some(4) && said.err.contains("steps"), "{:?} {}{}", said.code, said.out, said.err);
}

#[test]
fn completions_name_every_command_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let said = alone(&["completions", shell]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        for word in ["doctor", "reports", "replay", "bundle"] {
            assert!(said.out.contains(word), "{word} for {shell}");
        }
    }
    if let Ok(mut bash) = std::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn() {
        let script = alone(&["completions", "bash"]).out;
        std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(bash.wait().unwrap().success(), "it is no script");
    }
}

#[test]
fn man_writes_a_page_for_every_command() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("man1");
    let said = alone(&["man", directory.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for (path, _) in all() {
        let page = directory.join(format!("dlite-{}.1", path.join("-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".TH") && text.contains("Exit codes"), "{path:?}: {text}");
    }
}

#[test]
fn dev_shows_that_it_works() {
    let said = alone(&["dev", "--tasks", "5"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

#[test]
fn dev_submit_says_when_no_double_is_there() {
    let said = alone(&["dev", "submit", "--manager", "http://127.0.0.1:1", "--type", "X"]);
    assert!(said.code == Some(1) && said.err.contains("127.0.0.1:1"), "{:?} {}", said.code, said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_runner_attaches_and_works() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-9", 1);
    let id = lab.submit("DEV_WORK", 1);
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
}

#[test]
fn dev_span_hands_the_command_s_exit_code_on() {
    let run = |words: &[&str]| {
        let mut command = binary();
        // A collector that is not there costs nothing but the span.
        command.env_remove("TRACEPARENT").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        command.args(["dev", "span", "step", "--"]).args(words).output().unwrap().status.code()
    };
    assert_eq!((run(&["true"]), run(&["sh", "-c", "exit 3"])), (Some(0), Some(3)));
}

#[test]
fn dev_bench_names_a_directory_that_it_can_t_use() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = alone(&["dev", "bench", "--directory", &file.path().display().to_string()]);
    assert!(said.code == Some(1) && said.err.contains("is no directory"), "{:?} {}", said.code, said.err);
}
