//! A process that writes is killed again and again.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dlite::journal::{self, Batch, Event, Pace, Writer};
use dlite::state_dir::StateDir;

use crate::support::{Place, history, history_steps};

const KILLS: u64 = 8;
/// Batches the child keeps outstanding, so that it is always killed in the midst of a commit.
const OUTSTANDING: u64 = 64;
const CHILD: &str = "DLITE_TEST_JOURNAL_WRITER";
const DURABLE: &str = "durable up to ";

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_until_killed(PathBuf::from(dir));
    }
    let place = Place::new();
    let mut steps = 0;
    for kill in 1..=KILLS {
        let mut child = spawn(&place);
        // At a different depth each time, also past a checkpoint.
        let acknowledged = acknowledged_before_kill(&mut child, steps + kill * 97);
        let rows = place.open().rows;
        let found = history_steps(&rows).expect("whole batches of the history");
        assert!(found >= acknowledged, "kill {kill}: {acknowledged} steps were acknowledged, {found} came back");
        assert!(found <= acknowledged + OUTSTANDING, "kill {kill}: more came back than was ever submitted");
        steps = found;
    }
}

fn spawn(place: &Place) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::nothing_acknowledged_is_lost_by_a_kill", "--nocapture"]);
    command.env(CHILD, place.path()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Kills the child once it acknowledged `enough` steps; gives what it acknowledged in all.
fn acknowledged_before_kill(child: &mut Child, enough: u64) -> u64 {
    let mut acknowledged = 0;
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let Some(step) = line.strip_prefix(DURABLE).and_then(|step| step.parse().ok()) else { continue };
        acknowledged = step;
        if acknowledged >= enough && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the writing process ended by itself after {acknowledged} steps");
    acknowledged
}

fn write_until_killed(dir: PathBuf) -> ! {
    let lock = StateDir::lock(dir).unwrap();
    let opened = journal::open(&lock).unwrap();
    let mut step = history_steps(&opened.rows).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let on_event = move |event| drop(tell.send(event));
    let writer = Writer::start(opened.store, Pace::default(), on_event).unwrap();
    let mut durable = step;
    loop {
        while step < durable + OUTSTANDING {
            step += 1;
            writer.submit(Batch { changes: history(step - 1), last: step }).unwrap();
        }
        if let Event::Durable(last) = told.recv().unwrap() {
            durable = last;
            // A line of its own, in one write: what is cut by the kill is no acknowledgement.
            std::io::stdout().write_all(format!("{DURABLE}{last}\n").as_bytes()).unwrap();
        }
    }
}
