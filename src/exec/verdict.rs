//! How a script's end becomes a task's end.
//!
//! | end | outcome | reason |
//! |---|---|---|
//! | 0 | SUCCEEDED | |
//! | 64, 65 | ERRORED, INVALID_ARGUMENT | `TASK_INVALID` |
//! | 69, 75 | ERRORED, UNAVAILABLE; again if the route is idempotent | `UNAVAILABLE`, `TEMPORARY_FAILURE` |
//! | 77 | ERRORED, PERMISSION_DENIED | `PERMISSION_DENIED` |
//! | `skip_exit_code` | SKIPPED | `TASK_SKIPPED` |
//! | 124 | TIMED_OUT | `DEADLINE_EXCEEDED` |
//! | signal n, or code 128+n (n up to 31) | ERRORED, exit code 128+n | `KILLED_BY_SIGNAL` |
//! | killed for its memory | ERRORED, RESOURCE_EXHAUSTED | `MEMORY_LIMIT` |
//! | any other code | FAILED | `TASK_FAILED` |
//! | asked to stop, whatever the code | CANCELLED, or TIMED_OUT if time was why | `TASK_CANCELLED`, `DEADLINE_EXCEEDED` |
//! | never started | ERRORED, no side effects | `COMMAND_NOT_STARTED` |
//! | 0, result too large | ERRORED, OUT_OF_RANGE | `RESULT_TOO_LARGE` |
//! | 0, session's state too large or unreadable | ERRORED | `SESSION_STATE_INVALID` |

use rustix::process::Signal;
use tonic::Code;

use super::{
    config::{RESULT_BYTES_MAX, Route},
    log::Tail,
    result::{self, Captured},
};
use crate::{
    kit::keeper::{Ended, Exit},
    sdk::{CancelReason, Cancellation, ErrorOrigin, Failure, Output, Retry, StateChange, Success, reason},
};

/// The highest standard signal: shells tell the end of a child by 128 and its number.
const SIGNAL_MAX: i32 = 31;

/// All that is known of a script that has ended.
#[derive(Debug)]
pub(super) struct Report {
    pub ended: Ended,
    /// It was asked to stop.
    pub stopped: Option<Cancellation>,
    pub stdout: Captured,
    /// What it wrote into the result file.
    pub file: Option<Captured>,
    pub outputs: Vec<Output>,
    /// What it changed of its session's state, or what is wrong with that.
    pub state: Result<Option<StateChange>, String>,
    pub tail: Tail,
}

// === impl Report ===

impl Report {
    /// The task's end, by the table above.
    pub fn judge(self, route: &Route) -> Result<Success, Failure> {
        let end = match self.failure(route) {
            None => self.result(route),
            Some(failure) => Err(self.with_payload(failure)),
        };
        end.map_err(|failure| self.explain(failure))
    }

    /// A failed script's result is what it wrote into the file; its standard output may be half of one.
    fn with_payload(&self, failure: Failure) -> Failure {
        match &self.file {
            Some(file) if (1..=RESULT_BYTES_MAX).contains(&file.length) => {
                failure.payload(result::payload(file.bytes.clone()))
            }
            _ => failure,
        }
    }

    fn explain(self, failure: Failure) -> Failure {
        let failure = match self.exit_code() {
            Some(code) => failure.exit_code(code),
            None => failure,
        };
        let failure = match self.tail.text() {
            text if text.is_empty() => failure,
            text => failure.hint("the last lines of its log", text),
        };
        self.outputs.into_iter().fold(failure, Failure::output)
    }

    fn result(&self, route: &Route) -> Result<Success, Failure> {
        let (captured, bytes_max, fix) = match &self.file {
            Some(file) if file.length > 0 => (file, RESULT_BYTES_MAX, "write less into $DLITE_RESULT_FILE"),
            _ => (&self.stdout, route.result_bytes_max, "write it to $DLITE_RESULT_FILE, or raise result_bytes_max"),
        };
        if captured.length > bytes_max {
            let message = format!("the result has more than {bytes_max} bytes");
            let failure = Failure::errored(reason::RESULT_TOO_LARGE, message).code(Code::OutOfRange);
            return Err(failure
                .origin(ErrorOrigin::UserCode)
                .side_effects(true)
                .retry(Retry::Never)
                .hint("the result is too large", fix));
        }
        let success = match &self.state {
            Ok(None) => Success::new(),
            Ok(Some(change)) => Success::new().session_state(change.clone()),
            Err(why) => return Err(ran(Failure::errored("SESSION_STATE_INVALID", why)).origin(ErrorOrigin::UserCode)),
        };
        let success = success.exit_code(0);
        let success =
            if captured.bytes.is_empty() { success } else { success.payload(result::payload(captured.bytes.clone())) };
        Ok(self.outputs.iter().cloned().fold(success, Success::output))
    }

    /// `None`: it did well.
    fn failure(&self, route: &Route) -> Option<Failure> {
        if let Exit::NotStarted(why) = &self.ended.exit {
            let failure = Failure::errored("COMMAND_NOT_STARTED", why).side_effects(false).retry(Retry::OtherRunner);
            return Some(failure);
        }
        if self.ended.memory_limit && self.ended.exit != Exit::Code(0) {
            let bytes = route.limits.memory.unwrap_or_default();
            let failure =
                Failure::errored("MEMORY_LIMIT", format!("killed: it used more than its {bytes} bytes of memory"));
            return Some(ran(failure.code(Code::ResourceExhausted).origin(ErrorOrigin::UserCode)));
        }
        if let Some(stopped) = &self.stopped {
            return Some(match stopped.reason {
                CancelReason::Deadline => Failure::timed_out("it was stopped since its time was over"),
                _ => Failure::cancelled(),
            });
        }
        match self.ended.exit {
            Exit::Code(code) => self.code(code, route),
            Exit::Signal(signal) => Some(killed(signal, "killed by")),
            Exit::NotStarted(_) => None,
        }
    }

    fn code(&self, code: i32, route: &Route) -> Option<Failure> {
        let text = match self.tail.last_line() {
            Some(line) => format!("the command ended with exit code {code}: {line}"),
            None => format!("the command ended with exit code {code}"),
        };
        if route.skip_exit_code.map(i32::from) == Some(code) {
            return Some(Failure::skipped(text));
        }
        match code {
            0 => None,
            64 | 65 => Some(Failure::invalid(text)),
            69 => Some(again(Failure::errored("UNAVAILABLE", text))),
            75 => Some(again(Failure::errored("TEMPORARY_FAILURE", text))),
            77 => Some(ran(Failure::errored("PERMISSION_DENIED", text).code(Code::PermissionDenied))),
            124 => Some(Failure::timed_out(text)),
            129.. if code - 128 <= SIGNAL_MAX => {
                Some(killed(code - 128, "it tells that a process of it was killed by"))
            }
            _ => Some(Failure::failed(text)),
        }
    }

    /// As shells tell it; `None` if there was no process.
    fn exit_code(&self) -> Option<i32> {
        match self.ended.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(128 + signal),
            Exit::NotStarted(_) => None,
        }
    }
}

fn again(failure: Failure) -> Failure {
    failure.code(Code::Unavailable).retry(Retry::SameRunner)
}

fn ran(failure: Failure) -> Failure {
    failure.side_effects(true).retry(Retry::Never)
}

fn killed(signal: i32, by: &str) -> Failure {
    let name = Signal::from_named_raw(signal).map_or_else(String::new, |name| format!(" ({})", signal_name(name)));
    ran(Failure::errored("KILLED_BY_SIGNAL", format!("{by} signal {signal}{name}")))
}

fn signal_name(signal: Signal) -> String {
    // `Signal::KILL` prints as such.
    format!("{signal:?}").trim_matches('"').replace("Signal::", "SIG")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{exec::config::Config, proto::runner::v1::TaskOutcome};

    fn judged(exit: Exit, adjust: impl FnOnce(&mut Report)) -> (TaskOutcome, String, Option<i32>) {
        let text =
            "runner_id = \"a\"\n[routes.X]\ncommand = [\"/bin/true\"]\nskip_exit_code = 78\nresult_bytes_max = 4\n";
        let config = Config::parse(text, Path::new("x")).expect("valid");
        let mut report = Report {
            ended: Ended { exit, memory_limit: false, strays: 0, survivors: 0 },
            stopped: None,
            stdout: Captured::default(),
            file: None,
            outputs: Vec::new(),
            state: Ok(None),
            tail: Tail::default(),
        };
        adjust(&mut report);
        let result = match report.judge(&config.routes[0]) {
            Ok(success) => success.into_end().result,
            Err(failure) => failure.into_result(),
        };
        let reason = reason::reason(result.error.as_ref().and_then(|error| error.status.as_ref()));
        (result.outcome(), reason, result.exit_code)
    }

    #[test]
    fn every_documented_code_has_its_outcome_and_reason() {
        use TaskOutcome::{Errored, Failed, Skipped, Succeeded, TimedOut};
        for (code, outcome, reason) in [
            (0, Succeeded, ""),
            (1, Failed, "TASK_FAILED"),
            (64, Errored, "TASK_INVALID"),
            (65, Errored, "TASK_INVALID"),
            (69, Errored, "UNAVAILABLE"),
            (75, Errored, "TEMPORARY_FAILURE"),
            (77, Errored, "PERMISSION_DENIED"),
            (78, Skipped, "TASK_SKIPPED"),
            (124, TimedOut, "DEADLINE_EXCEEDED"),
            (137, Errored, "KILLED_BY_SIGNAL"),
            (128, Failed, "TASK_FAILED"),
            (160, Failed, "TASK_FAILED"),
            (255, Failed, "TASK_FAILED"),
        ] {
            assert_eq!(judged(Exit::Code(code), |_| ()), (outcome, reason.to_owned(), Some(code)), "exit code {code}");
        }
    }

    #[test]
    fn a_signal_is_told_by_number_and_as_shells_tell_it() {
        assert_eq!(
            killed(11, "killed by").into_result().error.expect("one").status.expect("one").message,
            "killed by signal 11 (SIGSEGV)"
        );
        let expected = (TaskOutcome::Errored, "KILLED_BY_SIGNAL".to_owned(), Some(139));
        assert_eq!(judged(Exit::Signal(11), |_| ()), expected);
    }

    #[test]
    fn what_was_asked_to_stop_was_stopped_whatever_it_says() {
        let stopped = |reason| Cancellation { reason, message: String::new(), grace: std::time::Duration::ZERO };
        let by_user = judged(Exit::Code(0), |report| report.stopped = Some(stopped(CancelReason::User)));
        assert_eq!(by_user, (TaskOutcome::Cancelled, "TASK_CANCELLED".to_owned(), Some(0)));
        let by_time = judged(Exit::Signal(9), |report| report.stopped = Some(stopped(CancelReason::Deadline)));
        assert_eq!(by_time, (TaskOutcome::TimedOut, "DEADLINE_EXCEEDED".to_owned(), Some(137)));
    }

    #[test]
    fn a_result_that_is_too_large_is_named_and_a_failure_comes_before_it() {
        let large = |report: &mut Report| report.stdout = Captured { bytes: b"0123".to_vec(), length: 5 };
        assert_eq!(judged(Exit::Code(0), large).1, reason::RESULT_TOO_LARGE);
        assert_eq!(judged(Exit::Code(1), large).1, "TASK_FAILED");
    }

    #[test]
    fn a_command_that_never_started_has_no_exit_code() {
        let (outcome, reason, code) = judged(Exit::NotStarted("no such file".to_owned()), |_| ());
        assert_eq!((outcome, reason.as_str(), code), (TaskOutcome::Errored, "COMMAND_NOT_STARTED", None));
    }
}
