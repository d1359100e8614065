//! SIGKILL at random moments under load: one effective result a task, no conflicting bodies, nothing stuck.

use std::time::{Duration, Instant};

use super::lab::{Lab, SOON};

/// Kills of the whole test, spread over delegate and runners.
const KILLS: u32 = 60;
const SLOTS: u32 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_kills_under_load_leave_one_effective_result_a_task() {
    let seed = std::env::var("DLITE_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(entropy);
    println!("kills: seed {seed} (replay the moments with DLITE_KILL_SEED)");
    let mut random = Random(seed);
    let mut lab = Lab::new().await;
    lab.start_delegate();
    let ids = ["r-1", "r-2"];
    for id in ids {
        lab.start_runner(id, SLOTS);
    }
    lab.status_when("both runners attached", |status| attached(status) == 2).await;

    let mut once = Vec::new();
    let mut submitted = 0_u64;
    let (mut of_delegate, mut of_runners) = (0, 0);
    let started = Instant::now();
    for _ in 0..KILLS {
        // Always more on offer than there are slots.
        for _ in 0..8 {
            submitted += 1;
            if random.below(3) == 0 {
                once.push(lab.submit("DEV_ONCE", random.below(40)));
            } else {
                lab.submit("DEV_WORK", random.below(60));
            }
        }
        tokio::time::sleep(Duration::from_millis(20 + random.below(180))).await;
        if random.below(2) == 0 {
            of_delegate += 1;
            lab.kill_delegate();
            tokio::time::sleep(Duration::from_millis(random.below(50))).await;
            lab.start_delegate();
        } else {
            of_runners += 1;
            let number = usize::try_from(random.below(2)).unwrap();
            lab.restart_runner(number, ids[number], SLOTS);
        }
    }
    let all = |record: &dlite::doubles::manager::Record| record.totals().effective >= submitted;
    lab.manager_when("a result for every task", all, SOON * 2).await;
    lab.status_when("nothing is left over", |status| {
        status.open_task_count == 0 && status.unreported_result_count == 0 && status.dead_letter_count == 0
    })
    .await;

    let totals = lab.manager.read(|record| record.totals());
    println!(
        "kills: {of_delegate} of the delegate, {of_runners} of runners; {submitted} tasks, {} effective, {} repeats, \
         {} conflicts, {:.1} s",
        totals.effective,
        totals.repeats,
        totals.conflicts,
        started.elapsed().as_secs_f64()
    );
    assert_eq!(totals.effective, submitted);
    assert_eq!(totals.conflicts, 0, "bodies of one task differ");
    assert_eq!(totals.failed, 0, "the manager gave tasks up");
    let again: Vec<_> = lab.starts().into_iter().filter(|(_, starts)| *starts > 3).collect();
    assert!(again.is_empty(), "started more often than attempts_max: {again:?}");
    let repeated = lab.starts_of_once();
    assert!(repeated.is_empty(), "handlers that are not idempotent started again: {repeated:?}");
    assert!(!once.is_empty());
}

fn attached(status: &dlite::proto::admin::v1::GetDelegateResponse) -> usize {
    status.runners.iter().filter(|runner| runner.state == "attached").count()
}

impl Lab {
    /// Non-idempotent tasks whose handler started more than once.
    fn starts_of_once(&self) -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        let text = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        text.lines()
            .filter(|line| line.ends_with(" DEV_ONCE"))
            .filter(|line| !seen.insert((*line).to_owned()))
            .map(ToOwned::to_owned)
            .collect()
    }
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
