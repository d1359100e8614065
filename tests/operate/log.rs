//! `dlite log level`: in force at once, and back by itself.

use crate::{
    lab::{Lab, SOON, pause},
    say::{json, say, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_level_shows_what_is_in_force_changes_it_and_falls_back_by_itself() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(text(&lab, &["log", "level"]).await, "info, as configured\n");
    let said = text(&lab, &["log", "level", "debug", "--for", "10m"]).await;
    assert!(said.starts_with("debug; back to info in 9 m"), "{said}");
    lab.start_runner("r-1", 1);
    lab.submit("DEV_WORK", 1);
    let deadline = std::time::Instant::now() + SOON;
    while !lab.delegate_log().contains("task assigned") {
        assert!(std::time::Instant::now() < deadline, "no debug line\n{}", lab.tail());
        pause().await;
    }
    assert_eq!(text(&lab, &["log", "level", "--reset"]).await, "info, as configured\n");

    text(&lab, &["log", "level", "info,dlite::core=trace", "--for", "1s"]).await;
    while json(&lab, &["log", "level"]).await["directives"] != "info" {
        assert!(std::time::Instant::now() < deadline, "it does not fall back\n{}", lab.tail());
        pause().await;
    }
    let refused = say(&lab, &["log", "level", "verbose"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("no level"), "{}", refused.err);
    let refused = say(&lab, &["log", "level", "debug", "--for", "48h"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("for_time"), "{}", refused.err);
    let audits = json(&lab, &["audit", "list"]).await;
    assert_eq!(audits.as_array().unwrap().len(), 3, "a look is no deed: {audits:#}");
}
