//! Each bug that the core carries for tests breaks a promise, and some history shows it: the invariants see.

use super::{core::planted::Bug, world::live};

/// Histories in which a planted bug must show. The rarest shows once in some thousands, and whatever changes the order of events
/// changes which.
const HISTORIES: u64 = 10_000;

fn is_found(bug: Bug) {
    let found = (0..HISTORIES).find_map(|seed| Some((seed, live(seed, Some(bug), false).violation?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} goes unseen in {HISTORIES} histories"));
    println!(
        "{bug:?} breaks {:?} in seed {seed}: {}",
        violation.promise,
        violation.detail.lines().next().unwrap_or("")
    );
}

macro_rules! planted_bugs {
    ($($test:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Bug::$bug);
            }
        )*
    };
}

planted_bugs! {
    an_acknowledgement_before_the_sync_is_found: AcknowledgeBeforeSync,
    a_start_before_the_accept_is_durable_is_found: StartBeforeDurable,
    missing_fencing_is_found: NoFencing,
    a_credit_leak_is_found: CreditLeak,
    a_forgotten_intention_is_found: ForgottenIntention,
    an_ambiguous_acquire_taken_for_a_no_is_found: AmbiguousAcquireClosed,
    a_repeated_start_is_found: RepeatedStart,
    a_dropped_report_is_found: ReportDropped,
    a_changed_report_is_found: ReportChanged,
    a_forgotten_abort_is_found: AbortForgotten,
    a_cancellation_without_an_end_is_found: GraceIgnored,
    an_immortal_lease_is_found: LeaseImmortal,
    a_repeated_hand_back_is_found: HandBackRepeated,
    a_drain_that_forgets_an_acquire_is_found: DrainForgetsAcquire,
    a_drain_without_an_end_is_found: DrainWithoutEnd,
    an_acquire_during_a_drain_is_found: DrainAcquires,
    a_stage_left_by_a_drain_is_found: DrainForgetsSessions,
    a_stage_begun_on_a_full_host_is_found: PressureIgnored,
    a_cleanup_refused_by_admission_is_found: CleanupRefused,
    a_gate_without_hysteresis_is_found: HysteresisIgnored,
    a_burst_of_stages_is_found: RampIgnored,
    a_class_filled_without_a_slot_for_cleanups_is_found: ReserveIgnored,
    an_upstream_that_starves_is_found: SharesIgnored,
    a_state_set_without_a_look_is_found: StateUnchecked,
    a_stage_on_the_wrong_runner_is_found: SessionAstray,
    a_forgotten_cleanup_is_found: CleanupForgotten,
    a_pause_that_pauses_nothing_is_found: PauseIgnored,
    a_drained_runner_that_gets_work_is_found: RunnerDrainIgnored,
}
