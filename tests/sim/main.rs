//! The whole delegate in virtual time: the core with model runners, a model manager and a model disk. One seed is one history,
//! and the same seed gives the same bytes.
//!
//! ```text
//!   DLITE_SIM_SEED=7 cargo test --test sim every_history -- --nocapture          one history, event by event
//!   DLITE_SIM_HISTORIES=1000000 cargo test --release --test sim every_history    the large run
//! ```

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

// The core is compiled into this target, rather than taken from the library, because the planted bugs exist under `cfg(test)`
// only, which holds here and not in the library that integration tests link.
#[allow(dead_code, clippy::enum_variant_names)]
#[path = "../../src/core/mod.rs"]
mod core;
#[allow(dead_code)]
#[path = "../../src/reason.rs"]
mod reason;

mod admission;
mod calls;
mod checks;
mod disk;
mod drains;
mod end;
mod facts;
mod faults;
mod hub;
mod manager;
mod operator;
mod plan;
mod planted;
mod queue;
mod random;
mod runner;
mod trace;
mod world;
mod writer;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use self::{core::planted::Bug, world::live};

/// Histories of an ordinary test run.
const HISTORIES: u64 = 20_000;
/// Events printed with a violation.
const LAST_EVENTS: usize = 60;

#[test]
fn every_history_keeps_the_promises() {
    if let Some(seed) = from_env("DLITE_SIM_SEED") {
        let story = live(seed, None, true);
        println!("{}", story.lines.join("\n"));
        return assert_eq!(story.violation, None, "seed {seed}");
    }
    let histories = from_env("DLITE_SIM_HISTORIES").unwrap_or(HISTORIES);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (next, inputs, broken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Every seed below a broken one is still tried, so that the first is the one that is told.
                    if seed >= histories.min(broken.load(Ordering::Relaxed)) {
                        return;
                    }
                    let story = live(seed, None, false);
                    inputs.fetch_add(story.inputs, Ordering::Relaxed);
                    if story.violation.is_some() {
                        broken.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if let Some(seed) = Some(broken.into_inner()).filter(|seed| *seed < histories) {
        panic!("{}", account(seed, None));
    }
    let (inputs, seconds) = (inputs.into_inner(), began.elapsed().as_secs_f64());
    let rate = inputs as f64 / seconds / threads as f64;
    println!("{histories} histories, {inputs} inputs in {seconds:.1} s: {rate:.0} inputs/s on each of {threads} cores");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..100 {
        let (one, other) = (live(seed, None, true), live(seed, None, true));
        assert!(one.lines == other.lines, "seed {seed}");
        // Nor does looking change anything.
        let untraced = live(seed, None, false);
        assert_eq!((one.digest, one.inputs), (untraced.digest, untraced.inputs), "seed {seed}");
    }
}

/// The story of a history that broke a promise.
fn account(seed: u64, planted: Option<Bug>) -> String {
    let story = live(seed, planted, true);
    let last = &story.lines[story.lines.len().saturating_sub(LAST_EVENTS)..];
    format!("seed {seed}: {:#?}\n{}", story.violation, last.join("\n"))
}

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {value:?}")))
}
