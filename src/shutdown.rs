//! From a signal to the process's end: what is asked of the daemon, how long it may take, and what the last line says.
//!
//! | signal | what happens |
//! |---|---|
//! | first | the delegate drains as `drain.on_signal` says, for `drain.grace`; if an operator drained it already, it ends at once |
//! | second | nothing is waited for: what runs is cancelled without grace, results are made durable and sent for some seconds |
//! | third | the process ends; what is acknowledged is durable already, and the next process goes on with it |
//!
//! SIGHUP is none of them: it reads the configuration anew.

use std::{fmt, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    admin,
    config::OnSignal,
    core::{
        audit::Actor,
        command::Command,
        drain::{Departure, ENDING_MAX, Mode, REPORTS_MAX},
    },
    daemon::{self, Daemon, Wish},
    health::systemd::Supervisor,
    settings::Settings,
};

/// Nothing is left behind.
pub const CLEAN: u8 = 0;
/// Something was cancelled, or stays in the journal for the next start.
pub const LEFT_BEHIND: u8 = 5;

/// What comes after the last report: ends of registrations, hang-ups, the journal's last commits, the last spans and metrics.
const CLOSING_MAX: Duration = Duration::from_secs(20);

/// The signals that mean something here.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To end, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration anew.
    Reload,
}

/// How the process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After a drain.
    Drained(Departure),
    /// At once, as configured: what runs goes on in the runners.
    Left(Departure),
    /// At once, told for the third time. `None`: the delegate did not answer any more.
    Forced(Option<Departure>),
}

// === impl Signals ===

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// If the system refuses to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// The next that means to end, by name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Told::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

/// Serves the daemon's wishes until the process is to end; [`Daemon::stop`] is left to do.
///
/// # Errors
/// If a part of the daemon failed.
pub async fn wait(
    daemon: &mut Daemon,
    signals: &mut Signals,
    settings: &mut Settings,
    supervisor: Option<&Supervisor>,
) -> Result<Ended, daemon::Error> {
    // Its own patience is not to cut the drain short.
    let tell_patience = |patience| supervisor.inspect(|supervisor| supervisor.stopping(patience));
    let mut told = 0;
    loop {
        let signal = tokio::select! {
            wish = daemon.wish() => match wish {
                Wish::End(ended) => return Ok(Ended::Drained(ended?.unwrap_or_default())),
                Wish::Reload(admin::Reload { by, answer }) => {
                    // The operator who asked may be gone; the log tells it too.
                    let _ = answer.send(settings.reload(daemon, by).await);
                    continue;
                }
            },
            told = signals.next() => match told {
                Told::Stop(signal) => signal,
                Told::Reload => {
                    // Told by the log.
                    let _ = settings.reload(daemon, Actor::of("signal")).await;
                    continue;
                }
            },
        };
        told += 1;
        let drain = settings.config().drain;
        let mode = match drain.on_signal {
            OnSignal::FinishTasks => Mode::FinishTasks,
            OnSignal::FinishSessions => Mode::FinishSessions,
            OnSignal::Cancel => Mode::Cancel,
            OnSignal::Leave => {
                tracing::info!("{signal}: stopping; running tasks go on in their runners");
                tell_patience(CLOSING_MAX);
                return Ok(Ended::Left(daemon.leavings().await.unwrap_or_default()));
            }
        };
        match told {
            1 => {
                tracing::info!("{signal}: draining ({}), then stopping", mode.word());
                tell_patience(drain.grace + ENDING_MAX + REPORTS_MAX + CLOSING_MAX);
                daemon.order(Command::Stop { mode, reason: "the delegate stops".into() }).await;
            }
            2 => {
                tracing::warn!("{signal} again: what runs is cancelled, nothing is waited for");
                daemon.order(Command::Hurry { reason: "the delegate stops and can't wait".into() }).await;
            }
            _ => {
                tracing::warn!("{signal} once more: the process ends now");
                return Ok(Ended::Forced(daemon.leavings().await));
            }
        }
    }
}

// === impl Ended ===

impl Ended {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Left(_) => CLEAN,
            Self::Drained(departure) if departure.is_clean() => CLEAN,
            Self::Drained(_) | Self::Forced(_) => LEFT_BEHIND,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, departure) = match self {
            Self::Drained(departure) if departure.is_clean() => {
                f.write_str("drained: every task is finished and every result is reported")?;
                return match departure.handed_back {
                    0 => Ok(()),
                    back => write!(f, " ({back} handed back)"),
                };
            }
            Self::Drained(departure) => ("drained, not without loss", departure),
            Self::Left(departure) => ("stopped", departure),
            Self::Forced(Some(departure)) => ("stopped by force", departure),
            Self::Forced(None) => {
                return f.write_str("stopped by force; what the journal holds is taken up by the next start");
            }
        };
        let Departure { cancelled, handed_back: _, open, acquiring, unreported, sessions } = *departure;
        let cancelled = count(cancelled, "task");
        let (open, acquiring) = (count(open, "open task"), count(acquiring, "unclear acquire"));
        let (unreported, sessions) = (count(unreported, "unreported result"), count(sessions, "open session"));
        write!(
            f,
            "{word}: {cancelled} cancelled; the journal keeps {open}, {acquiring}, {sessions} and {unreported} for the next start"
        )
    }
}

fn count(n: usize, of: &str) -> String {
    if n == 1 { format!("1 {of}") } else { format!("{n} {of}s") }
}
