//! Limits: memory is bounded everywhere, by cgroup v2 or by watching; pids where cgroup v2 permits.

use dlite::proto::runner::v1::TaskOutcome;

use crate::lab::{self, Lab};

/// Takes 4 MB more, a hundred times, with a child that would go on.
const GREEDY: &str = r#"
echo "$DLITE_EXEC_ROOM" > $0.room
sed -n 's/^0:://p' /proc/self/cgroup > $0.group
echo "getting hungry" >&2
sleep 1000 &
chunk=$(head -c 4000000 /dev/zero | tr '\0' x)
i=0
while [ $i -lt 100 ]; do all="$all$chunk"; i=$((i+1)); sleep 0.02; done
exit 3
"#;

#[tokio::test]
async fn a_script_that_takes_too_much_memory_is_killed_for_that_with_its_children() {
    let (lab, mut link) = Lab::with_script(GREEDY, "limits = { memory = \"64MiB\" }").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Errored, "MEMORY_LIMIT"), "{told:?}");
    assert_eq!((told.code(), told.tail().as_str()), (Some(137), "getting hungry"));
    assert!(told.message().contains("67108864 bytes"), "{}", told.message());
    assert_eq!(lab.log_lines("task-of-lease-1"), ["getting hungry"]);
    lab.assert_nothing_left();
    let (room, group) = (lab.wrote("run.sh.room").await, lab.wrote("run.sh.group").await);
    if group.ends_with(&format!("/dlite-{room}")) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount =
            mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap().split(' ').nth(1).unwrap();
        let path = format!("{mount}{group}");
        assert!(!std::path::Path::new(&path).exists(), "the group {path} is left");
    } else {
        println!(
            "note: this host permits no cgroup v2 groups (the script was in {group}); memory was watched by the keeper alone"
        );
    }
}

#[tokio::test]
async fn a_script_within_its_memory_is_left_alone_and_the_limit_can_be_the_runners() {
    let (lab, mut link) = Lab::with("sleep 0.3; echo fine", "limits = { memory = \"256MiB\" }", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "fine\n"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn limits_that_are_not_enforced_are_named_once_at_the_start() {
    let (lab, mut link) = Lab::with_script(
        "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done; exit 0",
        "limits = { pids = 20, cpu = 0.5 }",
    )
    .await;
    let warnings = lab.log().matches("cgroup v2 does not enforce these limits here").count();
    if warnings > 0 {
        println!("note: this host permits no cgroup v2 limits of pids and cpu; only the warning is tested");
        assert_eq!(warnings, 1);
        assert!(lab.log().contains("pids") && lab.log().contains("cpu"));
        let told = lab::run(&mut link, "lease-1").await;
        assert_eq!(told.outcome(), TaskOutcome::Succeeded);
    } else {
        let told = lab::run(&mut link, "lease-1").await;
        assert_eq!(told.outcome(), TaskOutcome::Failed, "the shell can't fork: {told:?}");
    }
    lab.assert_nothing_left();
}
