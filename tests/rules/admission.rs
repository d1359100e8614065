//! Whether a host is too full to take more.

use std::time::Duration;

use dlite::core::{
    admission::{Amount, Limits, Resource, Starts, Usage},
    effect::Note,
    input::Input,
    task::Kind,
};

use super::host::{Host, all_in_one, handler, limits};

const NOTHING: [&str; 0] = [];
const ONE: &[(&str, u32)] = &[("m", 1)];

/// Ten slots for everything.
fn host() -> Host {
    let mut host = Host::new(limits(), ONE);
    host.attach(1, all_in_one(), &[("default", 10)]);
    host
}

/// Notes of gates that turned.
fn turns(host: &mut Host) -> usize {
    let notes = std::mem::take(&mut host.notes);
    notes.iter().filter(|note| matches!(note, Note::Admission { .. })).count()
}

#[test]
fn a_host_nobody_has_looked_at_takes_everything() {
    let mut host = host();
    host.list("m", &["setup-1"]);
    assert_eq!(host.acquires(), ["setup-1"]);
}

#[test]
fn above_the_high_mark_no_stage_begins_and_cleanups_run() {
    let mut host = host();
    host.memory(93);
    host.list("m", &["setup-1", "other-1", "step-1", "cleanup-1"]);
    assert_eq!(host.give(), ["cleanup-1"]);
    for id in ["setup-1", "other-1"] {
        let wait = host.wait_of(id).unwrap();
        assert_eq!(wait, "ADMISSION_MEMORY: admission: memory 93 % > 85 %", "{id}");
    }
    assert_eq!(host.wait_of("step-1").unwrap(), "ADMISSION_MEMORY: admission: memory 93 % > 90 %");
}

#[test]
fn steps_of_open_stages_pass_by_the_margin_longer() {
    let mut host = host();
    host.memory(88);
    host.list("m", &["setup-1", "step-1"]);
    assert_eq!(host.acquires(), ["step-1"]);
}

#[test]
fn at_the_mark_is_not_above_it() {
    let mut host = host();
    host.memory(85);
    host.list("m", &["setup-1"]);
    assert_eq!(host.acquires(), ["setup-1"]);
}

#[test]
fn it_opens_at_the_low_mark_and_at_once() {
    let mut host = host();
    host.memory(93);
    host.list("m", &["setup-1"]);
    host.memory(76);
    assert_eq!(host.acquires(), NOTHING);
    host.memory(75);
    assert_eq!(host.acquires(), ["setup-1"], "without another poll");
}

#[test]
fn between_the_marks_nothing_flaps_and_nothing_is_said() {
    let mut host = host();
    host.memory(93);
    host.list("m", &["setup-1"]);
    assert_eq!(turns(&mut host), 2, "new work and steps");
    for percent in [84, 86, 77, 85, 91, 76, 88] {
        host.memory(percent);
        host.list("m", &["setup-1"]);
        assert_eq!(host.acquires(), NOTHING, "{percent} %");
        let mark = if percent > 85 { 85 } else { 75 };
        let refusal = format!("ADMISSION_MEMORY: admission: memory {percent} % > {mark} %");
        assert_eq!(host.wait_of("setup-1").unwrap(), refusal, "what is said is true");
    }
    let said = host.notes.iter().filter(|note| matches!(note, Note::NotAcquired { .. })).count();
    // Steps turn at 80 and 90.
    assert_eq!((said, turns(&mut host)), (0, 3));
    host.memory(70);
    host.list("m", &["setup-1"]);
    for percent in [80, 85, 76, 84] {
        host.memory(percent);
    }
    assert_eq!(turns(&mut host), 1, "steps passed already");
}

#[test]
fn a_figure_that_is_no_longer_known_holds_nothing_up() {
    let mut host = host();
    host.memory(93);
    host.list("m", &["setup-1"]);
    host.tell(Input::Pressure(Usage::new()));
    assert_eq!(host.acquires(), ["setup-1"]);
}

#[test]
fn a_runners_own_host_counts_for_its_link_alone() {
    let mut host = host();
    host.beat(1, Usage::from([(Resource::Memory, 95)]));
    host.list("m", &["setup-1"]);
    assert_eq!(host.acquires(), NOTHING);
    assert_eq!(host.wait_of("setup-1").unwrap(), "ADMISSION_MEMORY: admission: memory 95 % > 85 %");
    // Another runner, elsewhere, has room.
    host.attach(2, all_in_one(), &[("default", 1)]);
    assert_eq!(host.give(), ["setup-1"]);
    assert_eq!(host.running(), ["setup-1"]);
    host.list("m", &["setup-2"]);
    assert_eq!(host.acquires(), NOTHING, "the slot that is free is on the full host");
    host.beat(1, Usage::from([(Resource::Memory, 50)]));
    assert_eq!(host.acquires(), ["setup-2"]);
}

#[test]
fn what_handlers_declare_is_summed_up_against_the_capacity() {
    let capacity = Amount { memory_bytes: 10_000, ..Amount::default() };
    let mut host = Host::new(Limits { capacity, ..limits() }, ONE);
    let amount = Amount { memory_bytes: 4_000, ..Amount::default() };
    let handlers = all_in_one().into_iter().map(|handler| dlite::core::input::Handler { amount, ..handler }).collect();
    host.attach(1, handlers, &[("default", 10)]);
    host.list("m", &["setup-1", "setup-2", "setup-3", "cleanup-1"]);
    assert_eq!(host.give(), ["cleanup-1", "setup-1"]);
    let refusal = "ADMISSION_DECLARED_MEMORY: admission: declared memory 120 % > 100 %";
    assert_eq!(host.wait_of("setup-2").unwrap(), refusal);
    host.finish("cleanup-1");
    assert_eq!(host.give(), ["setup-2"]);
    host.list("m", &["setup-3", "cleanup-2"]);
    assert_eq!(host.give(), ["cleanup-2"], "a cleanup passes whatever is declared");
}

#[test]
fn a_burst_of_stages_is_spread_and_the_rest_of_a_stage_is_not() {
    let starts = Some(Starts { per_second: 10, burst: 2 });
    let mut host = Host::new(Limits { starts, ..limits() }, ONE);
    host.attach(1, all_in_one(), &[("default", 100)]);
    let offers = ["setup-1", "setup-2", "setup-3", "setup-4", "step-1", "step-2", "step-3", "other-1", "cleanup-1"];
    host.list("m", &offers);
    let mut given = host.give();
    given.sort_unstable();
    assert_eq!(given, ["cleanup-1", "other-1", "setup-1", "setup-2", "step-1", "step-2", "step-3"]);
    let refusal = "ADMISSION_START_RATE: admission: 10 stages a second may begin (admission.starts_per_second)";
    assert_eq!(host.wait_of("setup-3").unwrap(), refusal);
    host.pass(Duration::from_millis(99));
    assert_eq!(host.give(), NOTHING);
    host.pass(Duration::from_millis(1));
    assert_eq!(host.give(), ["setup-3"]);
    host.pass(Duration::from_millis(100));
    assert_eq!(host.give(), ["setup-4"], "and each without another poll");
    // A pause fills the bucket, and not more than that.
    host.pass(Duration::from_secs(600));
    host.list("m", &["setup-5", "setup-6", "setup-7"]);
    assert_eq!(host.give(), ["setup-5", "setup-6"]);
}

#[test]
fn a_stage_that_begins_late_does_not_pass_a_gate_that_closed_meanwhile() {
    let starts = Some(Starts { per_second: 1, burst: 1 });
    let mut host = Host::new(Limits { starts, ..limits() }, ONE);
    host.attach(1, all_in_one(), &[("default", 100)]);
    host.list("m", &["setup-1", "setup-2"]);
    assert_eq!(host.give(), ["setup-1"]);
    host.memory(93);
    host.pass(Duration::from_millis(2_000));
    assert_eq!(host.give(), NOTHING);
}

#[test]
fn a_full_host_is_told_at_a_glance() {
    let mut host = host();
    host.memory(93);
    let admission = host.core.status().admission;
    assert_eq!(admission.usage, Usage::from([(Resource::Memory, 93)]));
    assert_eq!(admission.beginnings.unwrap().to_string(), "admission: memory 93 % > 85 %");
    assert_eq!(admission.steps.unwrap().to_string(), "admission: memory 93 % > 90 %");
    host.memory(50);
    assert_eq!(host.core.status().admission.beginnings, None);
}

#[test]
fn the_kind_may_be_known_from_the_upstream_from_the_handler_or_from_the_type() {
    // The upstream tells nothing here, and the handler does.
    let mut host = host();
    host.memory(99);
    host.list_untold("m", &["cleanup-1", "setup-1"]);
    assert_eq!(host.acquires(), ["cleanup-1"]);
    // Neither does, and the adapter knows the type.
    let kinds = [(super::host::type_of(Kind::SessionCleanup), Kind::SessionCleanup)].into();
    let mut host = Host::with(limits(), ONE, |config| config.kinds = kinds);
    let silent = dlite::core::input::Handler { kind: Kind::Standalone, ..handler(Kind::SessionCleanup, "default") };
    host.attach(1, vec![silent], &[("default", 1)]);
    host.memory(99);
    host.list_untold("m", &["cleanup-1"]);
    assert_eq!(host.acquires(), ["cleanup-1"]);
}
