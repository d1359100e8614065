//! `dlite support bundle`: everything that helps, and no secret.

use std::os::unix::fs::MetadataExt as _;

use crate::{
    lab::{Lab, SECRET},
    reports::dead_letter,
    say::{say, text},
};

/// Unpacks it with the system's tar; all files by name.
fn unpacked(lab: &Lab, file: &str) -> std::collections::BTreeMap<String, String> {
    let place = lab.path("unpacked");
    std::fs::create_dir_all(&place).unwrap();
    let done =
        std::process::Command::new("tar").arg("-xzf").arg(lab.path(file)).arg("-C").arg(&place).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let directory = std::fs::read_dir(&place).unwrap().next().unwrap().unwrap().path();
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn support_bundle_has_what_helps_and_none_of_the_planted_secrets() {
    let mut lab = Lab::new().await;
    let planted = ["hunter2-in-a-proxy", "hunter2-in-a-payload", "hunter2-of-the-runners"];
    // Nothing goes through it: no_proxy leaves this machine out.
    lab.configure("proxy = \"http://joe:hunter2-in-a-proxy@127.0.0.1:9\"\nno_proxy = [\"127.0.0.1\"]\n");
    std::fs::write(lab.path("runner.token"), planted[2]).unwrap();
    std::fs::set_permissions(lab.path("runner.token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    lab.start_delegate_with(&["drain.on_signal=leave", "runners.token_file=runner.token"]);
    lab.start_runner("r-1", 1);
    dead_letter(&mut lab).await;
    let data = format!(r#"{{"millis":60000,"note":"{}"}}"#, planted[1]);
    lab.manager.submit(dlite::doubles::manager::NewTask::new("DEV_WORK", data)).unwrap();
    lab.status_when("a task is open", |status| status.open_task_count == 1).await;
    let file = lab.path("b.tar.gz").display().to_string();
    let said = text(&lab, &["support", "bundle", "--since", "1h", "--output", &file]).await;
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    let files = unpacked(&lab, "b.tar.gz");
    let names = [
        "audit.json",
        "config.json",
        "doctor.json",
        "doctor.txt",
        "journal.json",
        "log.txt",
        "metrics.txt",
        "reports.json",
        "resources.json",
        "sessions.json",
        "status.json",
        "tasks.json",
        "version.json",
    ];
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), names);
    let list = said.find("written to").unwrap();
    for name in names {
        assert!(said.find(name).is_some_and(|at| at < list), "{name} is listed before anything is written: {said}");
    }
    let raw = std::fs::read(&file).unwrap();
    for secret in planted.iter().chain(&[SECRET]) {
        for (name, content) in &files {
            assert!(!content.contains(secret), "{secret} in {name}");
        }
        assert!(!raw.windows(secret.len()).any(|part| part == secret.as_bytes()) && !said.contains(secret));
    }
    assert!(files["log.txt"].contains("ready") && files["log.txt"].contains("task acquired"), "{}", files["log.txt"]);
    assert!(files["metrics.txt"].contains("dlite_build_info"));
    assert!(files["reports.json"].contains("RESULT_REFUSED"));
    assert!(files["tasks.json"].contains("\"running\"") || files["tasks.json"].contains("\"assigned\""));
    assert!(files["journal.json"].contains("journal.db"));

    let again = say(&lab, &["support", "bundle", "--output", &file]).await;
    assert!(again.code == Some(1) && again.err.contains("exists"), "nothing is overwritten: {}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_without_a_delegate_says_so_and_has_the_rest() {
    let lab = Lab::new().await;
    let file = lab.path("b.tar.gz").display().to_string();
    text(&lab, &["support", "bundle", "--output", &file]).await;
    let files = unpacked(&lab, "b.tar.gz");
    assert!(files["delegate-unreachable.txt"].contains("a.sock"), "{files:?}");
    assert!(files.contains_key("doctor.txt") && files.contains_key("config.json"));
}
