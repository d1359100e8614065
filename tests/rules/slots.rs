//! Who gets a slot when there are fewer of them than tasks.

use std::time::Duration;

use dlite::core::{
    admission::Limits,
    id::LinkId,
    input::Input,
    task::{Kind, Priority, Spec},
};

use super::host::{Host, all_in_one, handler, spec};

const NOTHING: [&str; 0] = [];
const ONE: &[(&str, u32)] = &[("m", 1)];

fn names(kind: &str, count: usize) -> Vec<String> {
    (1..=count).map(|nth| format!("{kind}-{nth}")).collect()
}

/// One upstream, one runner with all kinds in the class "default".
fn host(slots: u32) -> Host {
    let mut host = Host::new(Limits::default(), ONE);
    host.attach(1, all_in_one(), &[("default", slots)]);
    host
}

#[test]
fn steps_fill_all_slots_but_the_one_that_is_kept_for_cleanups() {
    let mut host = host(4);
    let mut offers = names("step", 200);
    host.list("m", &offers);
    assert_eq!(host.give(), ["step-1", "step-2", "step-3"]);
    offers.drain(..3);
    offers.push("cleanup-1".to_owned());
    host.list("m", &offers);
    assert_eq!(host.give(), ["cleanup-1"]);
    assert_eq!(host.running(), ["step-1", "step-2", "step-3", "cleanup-1"]);
    // Its slot is a cleanup's again.
    host.finish("cleanup-1");
    assert_eq!(host.give(), NOTHING);
    host.finish("step-2");
    assert_eq!(host.give(), ["step-4"]);
}

#[test]
fn cleanups_go_first_and_may_use_every_slot() {
    let mut host = host(3);
    host.list("m", &["step-1", "setup-1", "other-1", "cleanup-1", "cleanup-2", "cleanup-3"]);
    assert_eq!(host.give(), ["cleanup-1", "cleanup-2", "cleanup-3"]);
}

#[test]
fn a_class_of_one_slot_keeps_none() {
    let mut host = host(1);
    host.list("m", &["step-1", "step-2"]);
    assert_eq!(host.give(), ["step-1"]);
}

#[test]
fn a_class_without_cleanups_keeps_none() {
    let mut host = Host::new(Limits::default(), ONE);
    let handlers = vec![handler(Kind::SessionExecute, "default"), handler(Kind::SessionCleanup, "cleanup")];
    host.attach(1, handlers, &[("default", 2), ("cleanup", 1)]);
    host.list("m", &["step-1", "step-2", "step-3", "cleanup-1", "cleanup-2"]);
    assert_eq!(host.give(), ["cleanup-1", "step-1", "step-2"]);
}

#[test]
fn cleanups_are_taken_beyond_tasks_max() {
    let mut host = Host::with(Limits::default(), ONE, |config| config.tasks_max = 2);
    host.attach(1, all_in_one(), &[("default", 10)]);
    host.list("m", &["step-1", "step-2", "step-3", "cleanup-1"]);
    assert_eq!(host.give(), ["cleanup-1", "step-1"]);
    host.list("m", &["step-2", "cleanup-2"]);
    assert_eq!(host.give(), ["cleanup-2"]);
}

#[test]
fn a_cleanup_does_not_wait_for_the_answer_to_another_acquire() {
    let mut host = host(10);
    host.list("m", &["step-1", "step-2"]);
    assert_eq!(host.acquires(), ["step-1"], "an upstream that has not answered one yet is asked for one");
    host.list("m", &["step-2", "cleanup-1", "cleanup-2"]);
    assert_eq!(host.acquires(), ["cleanup-1"]);
}

#[test]
fn ten_thousand_steps_before_it_do_not_hide_a_cleanup() {
    let mut host = host(3);
    let mut offers = names("step", 12_000);
    offers.push("cleanup-1".to_owned());
    host.list("m", &offers);
    assert_eq!(host.give(), ["cleanup-1", "step-1", "step-2"]);
}

#[test]
fn parts_of_stages_take_turns() {
    let mut host = host(2);
    let mut offers = names("setup", 20);
    offers.extend(names("step", 20));
    offers.extend(names("other", 20));
    host.list("m", &offers);
    let mut order = host.give();
    for _ in 0..8 {
        let running = host.running()[0].to_owned();
        host.finish(&running);
        order.extend(host.give());
    }
    let of = |kind: &str| order.iter().filter(|id| id.starts_with(kind)).count();
    assert_eq!((of("setup"), of("step"), of("other")), (3, 3, 3), "{order:?}");
}

#[test]
fn upstreams_share_by_weight_whatever_their_names_are() {
    let mut host = Host::new(Limits::default(), &[("a", 1), ("b", 3)]);
    host.attach(1, vec![handler(Kind::Standalone, "default")], &[("default", 1)]);
    host.list("a", &names("other-a", 100));
    host.list("b", &names("other-b", 100));
    let mut order = host.give();
    for _ in 0..39 {
        let running = host.running()[0].to_owned();
        host.finish(&running);
        order.extend(host.give());
    }
    let of_b = order.iter().filter(|id| id.starts_with("other-b")).count();
    assert!((29..=31).contains(&of_b), "{of_b} of 40 are b's: {order:?}");
    let longest = order.split(|id| id.starts_with("other-a")).map(<[_]>::len).max().unwrap();
    assert!(longest <= 4, "a waits for {longest} of b's");
}

#[test]
fn an_upstream_that_comes_late_gets_its_share_and_not_what_it_missed() {
    let mut host = Host::new(Limits::default(), &[("a", 1), ("b", 1)]);
    host.attach(1, vec![handler(Kind::Standalone, "default")], &[("default", 1)]);
    host.list("a", &names("other-a", 100));
    host.give();
    for _ in 0..30 {
        let running = host.running()[0].to_owned();
        host.finish(&running);
        host.give();
    }
    host.list("b", &names("other-b", 100));
    let mut order = Vec::new();
    for _ in 0..10 {
        let running = host.running()[0].to_owned();
        host.finish(&running);
        order.extend(host.give());
    }
    let of_b = order.iter().filter(|id| id.starts_with("other-b")).count();
    assert!((5..=6).contains(&of_b), "{order:?}");
}

#[test]
fn the_longest_listed_goes_first_over_polls() {
    let mut host = Host::new(Limits::default(), ONE);
    host.attach(1, vec![handler(Kind::Standalone, "default")], &[("default", 1)]);
    host.list("m", &["other-9"]);
    host.give();
    host.list("m", &["other-5"]);
    host.list("m", &["other-1", "other-5"]);
    host.finish("other-9");
    assert_eq!(host.give(), ["other-5"], "although the last listing and the alphabet say otherwise");
}

// === tasks that are ours and wait ===

/// Tasks that were acquired while their runner left: each batch comes after the one before by `pause`. Then one slot comes back.
fn waiting(batches: &[&[&str]], pause: Duration, spec: impl Fn(&str) -> Spec + Copy) -> Host {
    let mut host = Host::new(Limits::default(), ONE);
    host.attach(1, all_in_one(), &[("default", 1_000)]);
    // Its first answer shows that the upstream gives answers.
    host.list("m", &["other-0"]);
    host.give();
    host.list("m", &batches.concat());
    host.tell(Input::Detached { link: LinkId(1) });
    for batch in batches {
        host.give_only(batch, spec);
        host.pass(pause);
    }
    host.forget_assignments();
    host
}

/// The order in which a runner of one slot gets them.
fn order(mut host: Host) -> Vec<String> {
    host.attach(2, all_in_one(), &[("default", 1)]);
    let mut order = Vec::new();
    while let Some(id) = host.running().first().map(|id| (*id).to_owned()) {
        host.finish(&id);
        order.push(id);
    }
    order
}

#[test]
fn a_tenant_with_many_tasks_does_not_keep_another_waiting() {
    let tenant_of = |id: &str| Spec { tenant: id[..7].into(), ..spec(Kind::Standalone) };
    let ids = ["other-x1", "other-x2", "other-x3", "other-x4", "other-x5", "other-y1", "other-y2"];
    let order = order(waiting(&[&ids], Duration::ZERO, tenant_of));
    assert_eq!(order, ["other-x1", "other-y1", "other-x2", "other-y2", "other-x3", "other-x4", "other-x5"]);
}

#[test]
fn a_cleanup_that_waits_goes_before_everything() {
    let kind_of = |id: &str| spec(if id.starts_with("cleanup") { Kind::SessionCleanup } else { Kind::Standalone });
    let order = order(waiting(&[&["other-1", "other-2"], &["cleanup-1"]], Duration::ZERO, kind_of));
    assert_eq!(order, ["cleanup-1", "other-1", "other-2"]);
}

fn priority_of(id: &str) -> Spec {
    let priority = if id.contains("low") { Priority::Low } else { Priority::High };
    Spec { priority, ..spec(Kind::Standalone) }
}

#[test]
fn the_urgent_go_first() {
    let order = order(waiting(&[&["other-low1", "other-low2"], &["other-high"]], Duration::from_secs(20), priority_of));
    assert_eq!(order, ["other-high", "other-low1", "other-low2"]);
}

#[test]
fn age_makes_up_for_priority_after_a_minute() {
    let batches: [&[&str]; 4] = [&["other-low1"], &["other-high1"], &["other-high2"], &["other-low2", "other-high3"]];
    let order = order(waiting(&batches, Duration::from_secs(40), priority_of));
    assert_eq!(order, ["other-high1", "other-low1", "other-high2", "other-high3", "other-low2"]);
}

#[test]
fn ten_thousand_offers_do_not_make_a_turn_slow() {
    const TURNS: u32 = 1_000;
    let mut host = Host::new(Limits::default(), &[("a", 1), ("b", 3)]);
    host.attach(1, all_in_one(), &[("default", 100)]);
    host.list("a", &["other-0"]);
    host.give();
    let offers = |upstream: &str| -> Vec<String> {
        ["setup", "step", "other"]
            .iter()
            .flat_map(|kind| (1..=3_333).map(move |nth| format!("{kind}-{upstream}{nth}")))
            .collect()
    };
    let began = std::time::Instant::now();
    host.list("a", &offers("a"));
    host.list("b", &offers("b"));
    let listed = began.elapsed();
    host.give();
    let began = std::time::Instant::now();
    for _ in 0..TURNS {
        let running = host.running()[0].to_owned();
        host.finish(&running);
        host.give();
    }
    let turn = began.elapsed() / TURNS;
    println!("two listings of 9,999 in {listed:?}; a task that ends and the next one in {turn:?}");
    // Fifty times what it takes: only a walk over all offers would be slower.
    assert!(turn < Duration::from_millis(5), "{turn:?}");
}
