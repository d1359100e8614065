//! Limit 2: one slow part of a stage holds up everything else.

use std::time::{Duration, Instant};

use dlite::doubles::manager::Record;

use crate::{
    lab::{Lab, SOON},
    stages::{CLEANUP, STEP, Stages, submit},
};

const SLOTS: u32 = 4;
/// From the moment the manager has it until its handler runs.
const AT_ONCE: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(50);
const CLEANUPS: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleanup_starts_at_once_although_200_long_steps_wait_for_slots() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    let mut stages = Stages::attach(&lab.socket(), SLOTS);
    let steps: Vec<String> = (0..200).map(|_| submit(&lab, STEP)).collect();
    for _ in 1..SLOTS {
        assert_eq!(stages.next().await.0, STEP);
    }
    // All slots that steps may have are busy, and 197 steps are on offer.
    let last = &steps[199];
    let often = |record: &Record| record.task(last).is_some_and(|task| task.listed > 3);
    lab.manager_when("the last step listed often", often, SOON).await;
    assert_eq!(stages.so_far(), [""; 0]);

    let (began, polls) = (Instant::now(), lab.manager.read(|record| record.polls.total()));
    let mut waits = Vec::new();
    for _ in 0..CLEANUPS {
        let submitted = Instant::now();
        let cleanup = submit(&lab, CLEANUP);
        let (task_type, at) = stages.next().await;
        assert_eq!(task_type, CLEANUP, "nothing else has a slot");
        waits.push(at - submitted);
        lab.manager_when("its result", |record| record.effective(&cleanup).is_some(), SOON).await;
    }
    waits.sort_unstable();
    println!("cleanups started after {waits:?}");
    // This machine may be busy with something else for an instant, and is not for most of nine.
    assert!(waits[CLEANUPS / 2] <= AT_ONCE, "{waits:?}");

    // A poll brought each cleanup, and one may follow it at once; beside those they keep their pace.
    lab.manager_when("twenty more polls", |record| record.polls.total() >= polls + 20, SOON).await;
    let (took, polled) = (began.elapsed(), lab.manager.read(|record| record.polls.total()) - polls);
    let pace = took.as_secs_f64() / POLL.as_secs_f64();
    println!("{polled} polls in {took:?}, {pace:.0} intervals");
    assert!(polled as f64 <= pace * 1.2 + CLEANUPS as f64 + 2.0, "{polled} polls in {took:?}");
    assert!(polled as f64 >= pace * 0.5, "{polled} polls in {took:?}");

    stages.release();
    for step in &steps {
        lab.manager_when("the result of every step", |record| record.effective(step).is_some(), SOON).await;
    }
    stages.stop().await;
}
