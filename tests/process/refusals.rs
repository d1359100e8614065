//! What the daemon refuses: a state directory in use, a damaged journal, a wrong secret, a wrong configuration; and what refuses it.

use std::io::{Seek, SeekFrom, Write};

use dlite::doubles::manager::{Calls, RegisterAnswer};

use super::lab::{Lab, SOON, output};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_state_names_the_first() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let second = output(&["run"], &lab.path("dlite.toml"));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("in use by process {}", lab.delegate_pid())), "{said}");
    // The first one is none the worse.
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 1);
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_a_named_error() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    for _ in 0..20 {
        lab.submit("DEV_WORK", 60_000);
    }
    lab.status_when("a task runs", |status| status.open_task_count > 0).await;
    assert_eq!(lab.stop_delegate(), Some(0));
    let database = std::fs::read_dir(lab.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "db" || extension == "sqlite"))
        .expect("the state directory holds a database");
    let size = std::fs::metadata(&database).unwrap().len();
    let mut file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
    // Every page but the first: wherever the rows are, they are hit.
    for at in (4_096..size).step_by(512) {
        file.seek(SeekFrom::Start(at + 200)).unwrap();
        file.write_all(&[0xa5; 64]).unwrap();
    }
    drop(file);
    let refused = output(&["run"], &lab.path("dlite.toml"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("journal"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_loud_in_the_status_and_printed_nowhere() {
    let mut lab = Lab::new().await;
    let wrong = "ffffffffffffffffffffffffffffffff";
    lab.write_secret(wrong);
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let status = lab
        .status_when("the upstream refuses the credentials", |status| status.upstreams[0].state == "unauthorized")
        .await;
    assert!(!status.upstreams[0].last_error.is_empty());
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    assert!(!log.contains(wrong) && !format!("{status:?}").contains(wrong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_secret_is_in_no_body_the_manager_sees() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 1);
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    assert_eq!(lab.manager.read(|record| record.secret_seen.total()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_that_is_to_go_goes_once_all_is_reported() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let running = lab.submit("DEV_WORK", 300);
    lab.manager_when("it is taken", |record| record.task(&running).unwrap().acquires.total() == 1, SOON).await;
    lab.manager.refuse_registers(RegisterAnswer::SelfDestruct, Calls::All);
    lab.manager.forget_delegates();
    lab.manager_when("the result", |record| record.effective(&running).is_some(), SOON).await;
    assert_ne!(lab.delegate_ended().await, Some(0));
    assert!(lab.tail().contains("DELEGATE_DELETED"));
}
