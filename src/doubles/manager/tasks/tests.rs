use bytes::Bytes;
use serde_json::value::RawValue;

use super::*;
use crate::doubles::manager::wire::Registration;

const FINISHED_MAX: usize = 20;

/// Random numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn spec(number: u64, dice: &mut Dice) -> Spec {
    Spec {
        id: format!("t{number}").into(),
        number,
        task_type: "X".into(),
        data: RawValue::from_string("{}".into()).unwrap(),
        timeout: Duration::from_secs(5 + dice.roll(20) as u64),
        sync: dice.roll(4) == 0,
        runner_response: false,
        listed_to_all: false,
        runner: None,
        event: Vec::new(),
    }
}

fn answer(at: At, code: &str) -> Answer {
    let (dialect, body) = (Dialect::A, Bytes::copy_from_slice(code.as_bytes()));
    Answer { at, dialect, delegate: "d".into(), code: code.into(), error: String::new(), data: Bytes::new(), body }
}

/// Everything derived from the tasks' states says what the states say.
fn check(state: &State) {
    let mut assigned: HashMap<&Arc<str>, u32> = HashMap::new();
    let (mut queued, mut deadlines, mut open, mut over) = (0, 0, 0, 0);
    for task in state.record.tasks() {
        let spec = &task.spec;
        let is_queued = state.queued[usize::from(!spec.sync)].contains_key(&spec.number);
        assert_eq!(is_queued, matches!(task.state, TaskState::Queued { .. }), "{task:?}");
        assert_eq!(task.effective.is_some(), task.state == TaskState::Reported, "{task:?}");
        match &task.state {
            TaskState::Queued { expires } => {
                queued += 1;
                open += 1;
                deadlines += usize::from(expires.is_some());
            }
            TaskState::Assigned { delegate, expires, .. } => {
                open += 1;
                deadlines += 1;
                assert!(state.deadlines.contains(&(*expires, Arc::clone(&spec.id))), "{task:?}");
                *assigned.entry(delegate).or_default() += 1;
            }
            TaskState::Aborted => open += 1,
            TaskState::Reported | TaskState::Failed(_) => over += 1,
        }
    }
    assert_eq!(state.queued.iter().map(BTreeMap::len).sum::<usize>(), queued);
    assert_eq!(state.deadlines.len(), deadlines);
    assert_eq!(state.record.open(), open);
    assert_eq!(state.finished.len(), over);
    assert!(over <= FINISHED_MAX);
    for (id, delegate) in state.delegates.ids() {
        assert_eq!(delegate.assigned, assigned.get(id).copied().unwrap_or(0), "{id}");
    }
    for aborted in state.owed_aborts.values().flatten() {
        assert_eq!(state.record.task(aborted).map(|task| &task.state), Some(&TaskState::Aborted));
    }
}

#[test]
fn whatever_happens_queues_deadlines_and_counts_follow_the_states() {
    for (seed, hand_back) in [(1, HandBack::ToAnyone), (2, HandBack::ToOthers), (3, HandBack::ToAnyone)] {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut state = State::new(Delegates::new("d".into()), hand_back, FINISHED_MAX);
        let delegates: Vec<Arc<str>> = ["a", "b", "c"]
            .map(|host| {
                let body = Registration {
                    host_name: Some(host.into()),
                    supported_task_types: Some(vec!["X".into()]),
                    ..Registration::default()
                };
                state.delegates.register(&body).unwrap().0
            })
            .to_vec();
        let mut now = At::now();
        let mut submitted = 0;
        for _ in 0..5_000 {
            now.mono += Duration::from_millis(dice.roll(500) as u64);
            state.expire(now.mono);
            // Mostly recent tasks, sometimes ones that are over, forgotten, or never were.
            let id = format!("t{}", (submitted + 2_u64).saturating_sub(dice.roll(40) as u64));
            let delegate = Arc::clone(&delegates[dice.roll(3)]);
            match dice.roll(12) {
                0..=2 => {
                    submitted += 1;
                    let queue_timeout = (dice.roll(2) == 0).then_some(Duration::from_secs(4));
                    let spec = spec(submitted, &mut dice);
                    state.submit(spec, queue_timeout, now);
                }
                3..=6 => drop(state.acquire(&id, &delegate, Some("i"), now)),
                7 | 8 => state.answer(&id, answer(now, ["OK", "FAILED", "RETRY_ON_OTHER_DELEGATE"][dice.roll(3)])),
                9 => drop(state.abort(&id, now)),
                10 => drop(state.list(&delegate, Family::Legacy, dice.roll(2) == 0, 10, now)),
                _ => match dice.roll(10) {
                    0 => state.fail_tasks_of(&delegate),
                    1 => state.hand_out_unassigned(&id),
                    _ => state.extend(&id, &delegate, now.mono),
                },
            }
            check(&state);
        }
        let totals = state.record.totals();
        // The walk went everywhere.
        assert!(totals.effective > 100 && totals.failed > 100 && totals.hand_backs > 10, "{totals:?}");
        assert!(totals.repeats > 10 && totals.conflicts > 10 && totals.late > 10, "{totals:?}");
    }
}
