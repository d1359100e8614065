//! SIGKILL of delegate and runner: each stage has one true end at the server, and what has ended well has all its log.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dlite::doubles::drone::{Drone, NewBuild, NewStage, Options, Record, StepSeen};
use tempfile::TempDir;

use crate::support::{SOON, TOKEN};

const KILLS: u64 = 30;
/// Two stages for each kill, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

struct Lab {
    directory: TempDir,
    delegate: Option<Child>,
    runner: Option<Child>,
}

impl Lab {
    fn new(server: &Drone) -> Self {
        let directory = tempfile::Builder::new().prefix(&format!("dld{}-", std::process::id())).tempdir().unwrap();
        let text = format!(
            "name = \"lab\"\nstate_dir = \"state\"\n[log]\nfilter = \"debug\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n[admission]\ndisk_high = 100\n\
             [runners]\nsocket = \"r.sock\"\nheartbeat_interval = \"100ms\"\nlease_ttl = \"1s\"\naccept_timeout = \"500ms\"\n\
             reassign_margin = \"200ms\"\ncancel_grace = \"500ms\"\nrevoke_margin = \"300ms\"\n\
             [[upstreams]]\nname = \"d\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret = \"{TOKEN}\"\n\
             heartbeat_interval = \"200ms\"\nreport_retry_min = \"100ms\"\nreport_retry_max = \"500ms\"\n",
            server.endpoint()
        );
        std::fs::write(directory.path().join("dlite.toml"), text).unwrap();
        let mut lab = Self { directory, delegate: None, runner: None };
        lab.start_delegate();
        lab.start_runner();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&self, arguments: &[&str], log: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlite"));
        for (name, _) in std::env::vars() {
            if name.starts_with("DLITE_") || name.starts_with("DRONE_") {
                command.env_remove(name);
            }
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path(log)).unwrap();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn start_delegate(&mut self) {
        let config = self.path("dlite.toml").display().to_string();
        self.delegate = Some(self.spawn(&["run", "--config", &config], "delegate.log"));
    }

    fn start_runner(&mut self) {
        let socket = format!("unix:{}", self.path("r.sock").display());
        let arguments = ["dev", "runner", "--reattach-max-ms", "100", "--slots", "8", "--connect", &socket];
        self.runner = Some(self.spawn(&arguments, "runner.log"));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("delegate.log")).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        kill(self.delegate.take());
        kill(self.runner.take());
    }
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Four steps that take so long together; one runs beside the others, one fails and may.
fn build(millis: u64) -> NewBuild {
    #[allow(clippy::cast_precision_loss)] // some hundred
    let seconds = millis as f64 / 3_000.0;
    let config = format!(
        r#"{{"kind":"pipeline","type":"docker","name":"unit","steps":[
        {{"name":"clone","commands":["echo one","sleep {seconds}","echo two"]}},
        {{"name":"database","detach":true,"commands":["echo ready"]}},
        {{"name":"lint","failure":"ignore","commands":["sleep {seconds}","exit 3"]}},
        {{"name":"test","commands":["sleep {seconds}","echo done"]}}]}}"#
    );
    NewBuild { config, ..NewBuild::new(vec![NewStage::new("unit", "docker")]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_in_mid_stage_leave_each_stage_one_true_end() {
    let seed = std::env::var("DLITE_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(entropy);
    println!("kills: seed {seed} (replay the moments with DLITE_KILL_SEED)");
    let mut random = Random(seed);
    let server = Drone::start(Options { hold: Duration::from_secs(1), ..Options::new(TOKEN) }).await.unwrap();
    let mut lab = Lab::new(&server);
    let mut stages = Vec::new();
    for _ in 0..KILLS {
        for _ in 0..2 {
            stages.extend(server.submit(build(random.below(300))).unwrap().stages);
        }
        // The moment of the kill is what is random, not what is waited for.
        tokio::time::sleep(Duration::from_millis(30 + random.below(250))).await;
        if random.below(2) == 0 {
            kill(lab.delegate.take());
            lab.start_delegate();
        } else {
            kill(lab.runner.take());
            lab.start_runner();
        }
    }
    let submitted = stages.len() as u64;
    let all = server.wait_until(|record| record.totals.effective >= submitted, LONG).await;
    server.read(|record| {
        let open: Vec<_> = stages.iter().filter(|stage| record.effective(**stage).is_none()).collect();
        assert!(all.is_ok(), "open: {open:?}; {:?}\n{}", record.totals, lab.tail());
        assert_eq!(record.totals.conflicts, 0, "two ends of one stage differ");
        assert_eq!(record.token_seen.total(), 0);
        let (mut succeeded, mut lost, mut logged) = (0, 0, 0);
        for stage in &stages {
            let steps: Vec<&str> = record.steps_of(*stage).map(|step| &*step.row.status).collect();
            match record.status(*stage).unwrap() {
                // Where the answer to the registration went down with the delegate, the steps stay as they were registered.
                "success" => {
                    succeeded += 1;
                    let whole = steps == ["success", "success", "failure", "success"];
                    assert!(whole || steps.iter().all(|status| *status == "pending"), "{stage}: {steps:?}");
                    if whole {
                        logged +=
                            record.steps_of(*stage).zip(LINES).map(|(step, due)| check_log(step, due)).sum::<u64>();
                    }
                }
                "error" => lost += 1,
                other => panic!("{stage} has ended as {other}"),
            }
        }
        println!("kills: {succeeded} stages succeeded with {logged} lines, {lost} were lost; {:?}", record.totals);
        assert!(succeeded > 0 && logged > 0);
    });
    assert!(!lab.log().contains(TOKEN), "the token is in the log");
    assert!(!std::fs::read_to_string(lab.path("runner.log")).unwrap_or_default().contains(TOKEN));
}

/// The lines of each step that has ended by itself, between the commands that wait.
const LINES: [&[&str]; 4] = [
    &["+ echo one", "one", "+ sleep", "+ echo two", "two"],
    &["+ echo ready", "ready"],
    &["+ sleep", "+ exit 3"],
    &["+ sleep", "+ echo done", "done"],
];

/// How many lines it has.
fn check_log(step: &StepSeen, due: &[&str]) -> u64 {
    let stored = step.stored_lines().unwrap_or_else(|| panic!("{:?} has no log", step.row));
    let lines: Vec<&str> = stored
        .iter()
        .map(|line| if line.out.starts_with("+ sleep") { "+ sleep" } else { line.out.trim_end() })
        .collect();
    assert_eq!(lines, due, "{:?}", step.row);
    assert!(step.live.iter().all(|line| stored.contains(line)), "{:?}: {:?}", step.row, step.live);
    stored.len() as u64
}

/// A stage that runs until somebody ends it, in its first step, which has said something.
async fn long(server: &Drone) -> i64 {
    let stage = server.submit(build(600_000)).unwrap().stages[0];
    // What can be watched is on the delegate's disk.
    let runs = |record: &Record| record.steps_of(stage).any(|step| step.live.len() >= 2);
    server.wait_until(runs, SOON).await.unwrap();
    stage
}

/// Waits until the stage is closed as an error, with all its steps; how long that took.
async fn closed(server: &Drone, stage: i64) -> Duration {
    let began = Instant::now();
    server.wait_until(|record| record.effective(stage).is_some(), LONG).await.unwrap();
    let took = began.elapsed();
    server.read(|record| {
        assert_eq!(record.status(stage), Some("error"));
        let steps: Vec<&str> = record.steps_of(stage).map(|step| &*step.row.status).collect();
        assert_eq!(steps, ["error", "skipped", "skipped", "skipped"]);
        let first = record.steps_of(stage).next().unwrap();
        let lines: Vec<String> = first.stored_lines().unwrap().into_iter().map(|line| line.out).collect();
        assert!(
            lines.starts_with(&["+ echo one\n".to_owned(), "one\n".to_owned()]),
            "what it wrote is kept: {lines:?}"
        );
    });
    took
}

/// A lease here, the pause of whoever looks for logs that nobody closes, and what a busy machine adds.
const ORPHAN_MAX: Duration = Duration::from_secs(1 + 2 + 7);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_of_a_dead_runner_is_closed_within_its_lease_and_not_by_the_reaper() {
    let server = Drone::start(Options { hold: Duration::from_secs(1), ..Options::new(TOKEN) }).await.unwrap();
    let mut lab = Lab::new(&server);
    let stage = long(&server).await;
    kill(lab.runner.take());
    let took = closed(&server, stage).await;
    assert!(took < ORPHAN_MAX, "{took:?}\n{}", lab.tail());
    assert!(server.reap().is_empty(), "nothing is left for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_of_a_dead_delegate_goes_on_with_the_next_one_and_of_two_dead_is_closed() {
    let server = Drone::start(Options { hold: Duration::from_secs(1), ..Options::new(TOKEN) }).await.unwrap();
    let mut lab = Lab::new(&server);
    let stage = server.submit(build(3_000)).unwrap().stages[0];
    let runs = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "running");
    server.wait_until(runs, SOON).await.unwrap();
    kill(lab.delegate.take());
    lab.start_delegate();
    server.wait_until(|record| record.effective(stage).is_some(), LONG).await.unwrap();
    server.read(|record| {
        assert_eq!(record.status(stage), Some("success"), "{}", lab.tail());
        let lines: u64 = record.steps_of(stage).zip(LINES).map(|(step, due)| check_log(step, due)).sum();
        assert_eq!(lines, 12);
        assert_eq!(record.stages[&stage].accepts.total(), 1, "it was never given away");
    });
    let stage = long(&server).await;
    kill(lab.delegate.take());
    kill(lab.runner.take());
    lab.start_delegate();
    let took = closed(&server, stage).await;
    assert!(took < ORPHAN_MAX, "{took:?}\n{}", lab.tail());
}

fn entropy() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
