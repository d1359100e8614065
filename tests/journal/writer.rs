//! Group commit over a scripted store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dlite::journal::{
    BATCH_BYTES_MAX, BATCH_CHANGES_MAX, Batch, Change, Error, Event, Pace, Row, Space, Store, Writer,
};

use crate::support::{PATIENCE, append, events};

/// Commits when told to, and remembers what.
struct Scripted {
    answers: Receiver<Result<(), Error>>,
    groups: Arc<Mutex<Vec<Vec<Change>>>>,
    free_bytes: Arc<AtomicU64>,
}

struct Script {
    answer: Sender<Result<(), Error>>,
    groups: Arc<Mutex<Vec<Vec<Change>>>>,
    free_bytes: Arc<AtomicU64>,
}

fn scripted() -> (Scripted, Script) {
    let (answer, answers) = channel();
    let (groups, free_bytes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(u64::MAX)));
    let store = Scripted { answers, groups: groups.clone(), free_bytes: free_bytes.clone() };
    (store, Script { answer, groups, free_bytes })
}

impl Store for Scripted {
    fn load(&mut self) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        self.groups.lock().unwrap().push(batch.to_vec());
        self.answers.recv_timeout(PATIENCE).expect("the script says how each commit ends")
    }

    fn space(&self) -> Space {
        Space { free_bytes: self.free_bytes.load(Ordering::Relaxed) }
    }
}

fn quick() -> Pace {
    Pace { retry_pause: Duration::from_millis(1), space_poll: Duration::from_millis(1), ..Pace::default() }
}

fn batch(number: u32) -> Batch {
    Batch { changes: vec![append(1, number, format!("body {number}"))], last: u64::from(number) }
}

#[test]
fn group_commit_keeps_the_order_and_tells_only_the_last() {
    let (store, script) = scripted();
    let (on_event, events) = events();
    let writer = Writer::start(store, quick(), on_event).unwrap();
    writer.submit(batch(0)).unwrap();
    while script.groups.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    // The first commit is under way; what comes now waits for it and then goes as one.
    (1..=20).for_each(|number| writer.submit(batch(number)).unwrap());
    script.answer.send(Ok(())).unwrap();
    assert_eq!(events.next(), Event::Durable(0));
    script.answer.send(Ok(())).unwrap();
    assert_eq!(events.next(), Event::Durable(20));
    let groups = script.groups.lock().unwrap().clone();
    assert_eq!(groups, [batch(0).changes, (1..=20).flat_map(|number| batch(number).changes).collect()]);
}

#[test]
fn a_failing_group_is_tried_again_unchanged_and_told_once() {
    let (store, script) = scripted();
    let (on_event, events) = events();
    let writer = Writer::start(store, quick(), on_event).unwrap();
    writer.submit(batch(0)).unwrap();
    let broken = || Error::failed("commit a batch")("the disk said no");
    script.answer.send(Err(broken())).unwrap();
    assert_eq!(events.next(), Event::Failing { reason: "cannot commit a batch: the disk said no".to_owned() });
    writer.submit(batch(1)).unwrap();
    script.answer.send(Err(broken())).unwrap();
    script.answer.send(Err(Error::Full)).unwrap();
    script.answer.send(Ok(())).unwrap();
    script.answer.send(Ok(())).unwrap();
    assert_eq!(events.next(), Event::Recovered);
    assert_eq!(events.next(), Event::Durable(0));
    assert_eq!(events.next(), Event::Durable(1));
    writer.stop().unwrap();
    let groups = script.groups.lock().unwrap().clone();
    assert_eq!(groups[..4], [batch(0).changes, batch(0).changes, batch(0).changes, batch(0).changes]);
    assert_eq!(groups[4..], [batch(1).changes]);
}

#[test]
fn a_group_is_bounded_in_changes_and_in_bytes_and_splits_no_batch() {
    let (store, script) = scripted();
    let (on_event, events) = events();
    let writer = Writer::start(store, quick(), on_event).unwrap();
    writer.submit(batch(0)).unwrap();
    while script.groups.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    let many = |from: u64| {
        (0..BATCH_CHANGES_MAX).map(move |at| append(from, u32::try_from(at).unwrap(), "")).collect::<Vec<_>>()
    };
    let large = |scope: u64| vec![append(scope, 0, vec![0; BATCH_BYTES_MAX])];
    for (changes, last) in [(many(2), 1), (many(3), 2), (large(4), 3), (large(5), 4), (batch(1).changes, 5)] {
        writer.submit(Batch { changes, last }).unwrap();
    }
    (0..6).for_each(|_| script.answer.send(Ok(())).unwrap());
    assert_eq!((0..6).map(|_| events.next()).collect::<Vec<_>>(), (0..6).map(Event::Durable).collect::<Vec<_>>());
    drop(writer);
    let sizes: Vec<usize> = script.groups.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, BATCH_CHANGES_MAX, BATCH_CHANGES_MAX, 1, 1, 1]);
}

#[test]
fn a_stop_commits_what_is_queued() {
    let (store, script) = scripted();
    let (on_event, events) = events();
    let writer = Writer::start(store, quick(), on_event).unwrap();
    (0..50).for_each(|number| writer.submit(batch(number)).unwrap());
    (0..50).for_each(|_| script.answer.send(Ok(())).unwrap());
    writer.stop().unwrap();
    assert_eq!(events.rest().last(), Some(&Event::Durable(49)));
    assert_eq!(script.groups.lock().unwrap().iter().map(Vec::len).sum::<usize>(), 50);
}

#[test]
fn little_space_is_told_once_and_room_again_only_past_the_upper_mark() {
    let (store, script) = scripted();
    let (on_event, events) = events();
    let pace = Pace { space_low_bytes: 1000, space_ok_bytes: 2000, ..quick() };
    let writer = Writer::start(store, pace, on_event).unwrap();
    script.free_bytes.store(999, Ordering::Relaxed);
    assert_eq!(events.next(), Event::SpaceLow { free_bytes: 999 });
    script.free_bytes.store(1500, Ordering::Relaxed);
    // Between the marks nothing is told: a commit passes by, and the next event is still its own.
    writer.submit(batch(0)).unwrap();
    script.answer.send(Ok(())).unwrap();
    assert_eq!(events.next(), Event::Durable(0));
    script.free_bytes.store(2000, Ordering::Relaxed);
    assert_eq!(events.next(), Event::SpaceOk);
    writer.stop().unwrap();
    assert_eq!(events.rest(), []);
}

#[test]
fn a_writer_whose_thread_died_refuses_what_it_can_not_keep() {
    let (store, script) = scripted();
    let writer = Writer::start(store, quick(), |event| {
        assert!(!matches!(event, Event::Durable(_)), "this death is meant");
    })
    .unwrap();
    script.answer.send(Ok(())).unwrap();
    writer.submit(batch(0)).unwrap();
    let started = std::time::Instant::now();
    while writer.submit(batch(1)).is_ok() {
        assert!(started.elapsed() < PATIENCE, "batches vanish without a word");
        std::thread::yield_now();
    }
}
