//! Logs as files: no log service is needed, and where they go can be changed while the delegate runs.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, sync::atomic::Ordering};

use dlite::doubles::log_service::Counts;

use crate::lab::{Lab, Work, expected, text, texts};

const TO_FILES: &str = "[logs]\nsink = \"file\"\ndir = \"kept\"";

/// The files that are whole, in order of their names.
fn files(lab: &Lab) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.path("kept")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

/// The texts of a file's lines, behind time, source and level.
fn lines_of(file: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_becomes_a_file_of_its_owner_and_no_log_service_hears_of_it() {
    let lab = Lab::started("", TO_FILES).await;
    let task = lab.submit("k", Work { lines: 2_000, ..Work::default() });
    lab.finished(&task).await;
    lab.eventually("the log is deleted from the spool", || lab.spooled().is_empty()).await;
    let files = files(&lab);
    let [file] = &files[..] else { panic!("{files:?}") };
    assert_eq!(lines_of(file), expected(2_000));
    let begin = std::fs::read_to_string(file).unwrap();
    assert!(begin.starts_with(&format!("2026-09-21T12:00:00.000000000Z stdout info {}\n", text(0))), "{begin:.200}");
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(file), mode(&lab.path("kept"))), (0o600, 0o700));
    assert_eq!(lab.service.counts(), Counts::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_try_at_a_task_keeps_its_own_file() {
    let mut lab = Lab::started("", TO_FILES).await;
    let go = lab.path("go");
    let task = lab.submit("k", Work { lines: 50, until: Some(go.clone()), ..Work::default() });
    let written = lab.written.clone();
    lab.eventually("the first try has written", || written.load(Ordering::Relaxed) == 50).await;
    lab.stop_runner();
    lab.start_runner();
    lab.eventually("the second try has written", || written.load(Ordering::Relaxed) == 100).await;
    std::fs::write(&go, "").unwrap();
    lab.finished(&task).await;
    lab.eventually("both files are there", || files(&lab).len() == 2).await;
    assert_eq!(lines_of(&files(&lab)[1]), expected(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_takes_nothing_costs_disk_and_no_line() {
    let mut lab = Lab::new("", TO_FILES).await;
    // Nobody, not even the superuser, makes a directory where a file is.
    std::fs::write(lab.path("kept"), "").unwrap();
    lab.start_delegate();
    lab.start_runner();
    let task = lab.submit("k", Work { lines: 100, ..Work::default() });
    lab.finished(&task).await;
    lab.eventually("it is told", || lab.delegate_log().contains("no file can be written to")).await;
    assert!(!lab.spooled().is_empty());
    // A draft that a crash left is no file, and in nobody's way.
    std::fs::remove_file(lab.path("kept")).unwrap();
    lab.eventually("the file is there", || !files(&lab).is_empty()).await;
    assert_eq!(lines_of(&files(&lab)[0]), expected(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_sends_new_logs_elsewhere_and_bounds_them_anew() {
    let lab = Lab::started("", "").await;
    let task = lab.submit("before", Work { lines: 10, ..Work::default() });
    lab.finished(&task).await;
    assert_eq!(texts(&lab.blob("before").await), expected(10));
    let configuration = std::fs::read_to_string(lab.path("dlite.toml")).unwrap();
    let more = format!("{TO_FILES}\nreport_wait = \"1s\"\nlog_max_mib = 1\nall_max_mib = 64\n\n[log]");
    std::fs::write(lab.path("dlite.toml"), configuration.replacen("[log]", &more, 1)).unwrap();
    let output = lab.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for key in ["logs.report_wait", "logs.sink", "logs.dir", "logs.log_max_mib", "logs.all_max_mib"] {
        assert!(said.contains(key), "{key}: {said} {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!said.contains("restart"), "{said}");
    let task = lab.submit("after", Work { lines: 30_000, ..Work::default() });
    lab.finished(&task).await;
    lab.eventually("the file is there", || !files(&lab).is_empty()).await;
    let lines = lines_of(&files(&lab)[0]);
    let last = lines.last().unwrap();
    assert!(last.contains("the log has reached its limit") && lines.len() > 5_000, "{last}");
}
