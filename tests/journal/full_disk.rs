//! A full disk stops the journal, costs nothing that was acknowledged, and passes on the same handle.

use std::process::Command;
use std::time::Duration;

use dlite::journal::{Batch, Error, Event, Pace, Store, Writer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{PATIENCE, Place, append, end, events, row, spacious};

/// Larger than what is free in the pages of a small database.
const LARGE: usize = 200_000;

#[test]
fn a_batch_without_room_is_kept_out_whole_and_fits_later() {
    let place = Place::with(&[vec![append(1, 0, "before")]]);
    let mut held = place.open();
    let limit = held.store.page_limit();
    limit.set(Some(1));
    let batch = [append(2, 0, "small"), append(1, 1, vec![7; LARGE])];
    for _ in 0..3 {
        assert!(matches!(held.store.commit(&batch), Err(Error::Full)));
    }
    limit.set(None);
    held.store.commit(&batch).unwrap();
    drop(held);
    assert_eq!(place.open().rows, [row(1, 0, "before"), row(1, 1, vec![7; LARGE]), row(2, 0, "small")]);
}

#[test]
fn the_writer_fails_once_keeps_everything_in_order_and_recovers() {
    let place = Place::new();
    let held = place.open();
    let limit = held.store.page_limit();
    let (on_event, events) = events();
    let pace = Pace { retry_pause: Duration::from_millis(5), ..spacious() };
    let writer = Writer::start(held.store, pace, on_event).unwrap();
    writer.submit(Batch { changes: vec![append(1, 0, "acknowledged")], last: 1 }).unwrap();
    assert_eq!(events.next(), Event::Durable(1));

    limit.set(Some(1));
    writer.submit(Batch { changes: vec![append(2, 0, vec![7; LARGE])], last: 2 }).unwrap();
    assert_eq!(events.next(), Event::Failing { reason: "the disk is full".to_owned() });
    writer.submit(Batch { changes: vec![append(2, 1, "behind it")], last: 3 }).unwrap();
    writer.submit(Batch { changes: vec![end(1)], last: 4 }).unwrap();
    // What was acknowledged is there meanwhile, and nothing else.
    assert_eq!(place.copy().open().rows, [row(1, 0, "acknowledged")]);

    limit.set(None);
    assert_eq!(events.next(), Event::Recovered);
    assert_eq!(events.next(), Event::Durable(2));
    writer.stop().unwrap();
    drop(held.lock);
    assert_eq!(place.open().rows, [row(2, 0, vec![7; LARGE]), row(2, 1, "behind it")]);
}

#[test]
fn a_stop_on_a_full_disk_ends_in_bounded_time_and_says_what_is_lost() {
    let place = Place::new();
    let held = place.open();
    let limit = held.store.page_limit();
    let (on_event, events) = events();
    let pace = Pace { retry_pause: Duration::from_millis(5), stop_grace: Duration::from_millis(50), ..spacious() };
    let writer = Writer::start(held.store, pace, on_event).unwrap();
    writer.submit(Batch { changes: vec![append(1, 0, "acknowledged")], last: 1 }).unwrap();
    assert_eq!(events.next(), Event::Durable(1));
    limit.set(Some(1));
    writer.submit(Batch { changes: vec![append(2, 0, vec![7; LARGE])], last: 2 }).unwrap();
    assert!(matches!(events.next(), Event::Failing { .. }));
    writer.submit(Batch { changes: vec![append(2, 1, "behind it"), end(1)], last: 3 }).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(writer.stop().unwrap_err().changes, 3);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(events.rest(), []);
    drop(held.lock);
    assert_eq!(place.open().rows, [row(1, 0, "acknowledged")]);
}

const CHILD: &str = "DLITE_TEST_JOURNAL_FILE_LIMIT";

/// The system itself refuses writes beyond a size, in a process of its own, since the limit is the whole process's.
#[test]
fn scopes_still_end_where_the_log_can_not_grow() {
    if std::env::var_os(CHILD).is_some() {
        return end_scopes_under_a_file_limit();
    }
    // Without the trap the kernel would end the process instead of refusing the write.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "full_disk::scopes_still_end_where_the_log_can_not_grow", "--nocapture"]);
    let output = command.env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn end_scopes_under_a_file_limit() {
    let scopes = 200;
    let place = Place::with(&[(0..scopes).map(|scope| append(scope, 0, vec![7; 2000])).collect()]);
    let mut held = place.open();
    let bytes = std::fs::metadata(held.lock.database()).unwrap().len();
    let unlimited = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: unlimited.maximum }).unwrap();
    let mut refused = 0;
    for scope in 0..scopes {
        if held.store.commit(&[end(scope)]).is_err() {
            refused += 1;
            held.store.commit(&[end(scope)]).unwrap();
        }
    }
    assert!(refused > 0, "the limit was never met");
    assert!(held.store.commit(&[append(scopes, 0, vec![7; 4 * LARGE])]).is_err(), "larger than all there is");
    setrlimit(Resource::Fsize, unlimited).unwrap();
    held.store.commit(&[append(scopes, 0, "after")]).unwrap();
    drop(held);
    assert_eq!(place.open().rows, [row(scopes, 0, "after")]);
}
