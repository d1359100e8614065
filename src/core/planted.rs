//! Bugs on purpose, compiled into tests only: each breaks one promise, and the simulation must notice.

macro_rules! planted {
    ($core:expr, $bug:ident) => {{
        #[cfg(test)]
        {
            $core.config.planted == Some($crate::core::planted::Bug::$bug)
        }
        #[cfg(not(test))]
        {
            false
        }
    }};
}
pub(super) use planted;

/// A broken promise.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Effects leave before the records they promise are durable.
    AcknowledgeBeforeSync,
    /// Only the acknowledgement of an accept leaves early: a handler may start for an assignment the journal never saw.
    StartBeforeDurable,
    /// A result counts whatever its lease.
    NoFencing,
    /// A rejection keeps its credit.
    CreditLeak,
    /// An acquire leaves without its intention in the journal.
    ForgottenIntention,
    /// An acquire that nobody answered is taken for a lost race.
    AmbiguousAcquireClosed,
    /// A task whose handler is not idempotent is assigned again after its lease was lost.
    RepeatedStart,
    /// A report that failed is not sent again.
    ReportDropped,
    /// A report sent again has another body.
    ReportChanged,
    /// An abort of a task that is being acquired is forgotten.
    AbortForgotten,
    /// A cancelled handler may take for ever.
    GraceIgnored,
    /// A runner that fell silent keeps its leases.
    LeaseImmortal,
    /// A hand-back without a clear answer is sent again.
    HandBackRepeated,
    /// A drain takes itself for done while an acquire is under way.
    DrainForgetsAcquire,
    /// A drain takes itself for done while what stages left on hosts is not cleaned up.
    DrainForgetsSessions,
    /// The grace of a drain never ends.
    DrainWithoutEnd,
    /// What a poll lists during a drain is acquired.
    DrainAcquires,
    /// What begins a stage is acquired however full the host is.
    PressureIgnored,
    /// A cleanup is treated like what begins a stage.
    CleanupRefused,
    /// The gate opens again as soon as the reading is at the high mark.
    HysteresisIgnored,
    /// Stages begin as fast as they are offered.
    RampIgnored,
    /// All slots of a class may be filled by other tasks than cleanups.
    ReserveIgnored,
    /// Upstreams are served in the order of their names.
    SharesIgnored,
    /// A session's state is set whatever it was made from.
    StateUnchecked,
    /// A session's tasks go to any runner.
    SessionAstray,
    /// A session whose setup failed is forgotten without its cleanup.
    CleanupForgotten,
    /// What a paused upstream offers is acquired.
    PauseIgnored,
    /// A drained runner gets new tasks.
    RunnerDrainIgnored,
}
