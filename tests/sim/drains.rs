//! What a drain promises, checked after each turn: nothing is begun any more but what open sessions wait for, it ends in time, and
//! drained means that nothing is left.

use std::time::Duration;

use super::{
    core::{
        command::Command,
        drain::{ENDING_MAX, Mode, Phase, REPORTS_MAX},
        id::UpstreamName,
        task::Kind,
        time::{Mono, Now},
    },
    hub::Event,
    queue::{MS, SEC},
    world::{Process, World},
};

/// By when a drain that was ordered has done what it said, whatever upstreams and runners do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    mode: Mode,
    /// Nothing is waited for any more.
    grace_ends: Mono,
    /// No task is open any more.
    ended: Mono,
    /// The process is gone. `None`: it is to stay.
    gone: Option<Mono>,
    hurried: bool,
}

// === impl Drain ===

impl Drain {
    /// The process stands still for so long, and so does all it waits for.
    pub fn put_off(&mut self, pause: u64) {
        let pause = Duration::from_micros(pause);
        self.grace_ends = self.grace_ends + pause;
        self.ended = self.ended + pause;
        self.gone = self.gone.map(|gone| gone + pause);
    }

    /// Whether a task of this kind may be taken all the same, if its upstream has a session here.
    fn takes(&self, now: Mono, kind: Kind) -> bool {
        let of_session = matches!(kind, Kind::SessionExecute | Kind::SessionCleanup);
        of_session && self.mode == Mode::FinishSessions && !self.hurried && now <= self.grace_ends
    }
}

// === impl Process ===

impl Process {
    /// Notes what an order that is about to be given promises, by the words of the operator's manual.
    pub fn expect(&mut self, now: Now, command: &Command) {
        let grace_of = |mode: Mode, grace: Duration| if mode == Mode::Cancel { Duration::ZERO } else { grace };
        match command {
            Command::Drain { mode, grace, .. } if self.drain.is_none() => {
                let grace_ends = now.mono + grace_of(*mode, grace.unwrap_or_default());
                let ended = grace_ends + ENDING_MAX;
                self.drain = Some(Drain { mode: *mode, grace_ends, ended, gone: None, hurried: false });
            }
            Command::Stop { mode, .. } if self.drain.is_none_or(|drain| drain.gone.is_none()) => {
                let grace_ends = now.mono + grace_of(*mode, super::plan::DRAIN_GRACE);
                let (mode, grace_ends, ended) = match self.drain {
                    Some(drain) => {
                        (drain.mode, drain.grace_ends.min(grace_ends), drain.ended.min(grace_ends + ENDING_MAX))
                    }
                    None => (*mode, grace_ends, grace_ends + ENDING_MAX),
                };
                // A drain that is over already ends with its reports.
                let gone = Some(ended.max(now.mono) + REPORTS_MAX);
                self.drain = Some(Drain { mode, grace_ends, ended, gone, hurried: false });
            }
            Command::Hurry { .. } if self.drain.is_none_or(|drain| !drain.hurried) => {
                let second = Duration::from_secs(1);
                let (ended, gone) = (now.mono + second, Some(now.mono + second * 4));
                self.drain = Some(Drain { mode: Mode::Cancel, grace_ends: now.mono, ended, gone, hurried: true });
            }
            Command::Resume if self.drain.is_some_and(|drain| drain.gone.is_none()) => self.drain = None,
            _ => {}
        }
    }

    /// Whether the drain under way lets a task of this kind be taken from `upstream`: what is left of a stage here nobody else can do.
    pub fn drain_takes(&self, now: Mono, upstream: &UpstreamName, kind: Kind) -> bool {
        // A session that ends in this turn may be what the offer was taken for.
        let has_session = self.stages.contains(upstream) || self.with_sessions().any(|with| with == upstream);
        has_session && self.drain.is_some_and(|drain| drain.takes(now, kind))
    }

    fn with_sessions(&self) -> impl Iterator<Item = &UpstreamName> {
        self.core.ledger().sessions().map(|session| &session.upstream)
    }
}

// === impl World ===

impl World {
    /// After a turn, before its records are handed on. `drained`: nothing was to be taken before it.
    pub fn check_drain(&mut self, now: Now, drained: bool) {
        let Some(process) = &self.process else { return };
        let phase = process.core.phase();
        self.take_entries(drained && phase != Phase::Serving);
        let Some(process) = &mut self.process else { return };
        process.stages = process.with_sessions().cloned().collect();
        let checks = &mut self.hub.checks;
        if (phase != Phase::Serving) != process.drain.is_some() {
            checks.violated("a drain begins and ends by an order", || format!("{phase:?} with {:?}", process.drain));
        }
        if phase == Phase::Drained {
            let ledger = process.core.ledger();
            let open = ledger.tasks().find(|task| !ledger.dead_letters().contains(&task.id)).map(|task| task.id);
            let left = open.or_else(|| ledger.intentions().next().map(|(task, _)| task));
            if let Some(left) = left {
                checks.violated("drained means that nothing is left", || left.to_string());
            }
            // Those who can't wait leave the sessions to the next process.
            let closes_sessions = process.drain.is_some_and(|drain| drain.mode != Mode::Cancel);
            if let Some(left) = ledger.sessions().find(|session| session.started && closes_sessions) {
                checks.violated("drained means that no stage is left", || format!("{:?} {}", left.phase, left.id));
            }
        }
        let Some(drain) = process.drain else { return };
        // What is due at this very moment may need another turn.
        let settled = process.core.poll_timeout().is_none_or(|due| due > now.mono);
        if settled && now.mono >= drain.ended {
            let open = process.core.ledger().tasks().find(|task| !task.is_finished());
            if let Some(open) = open {
                checks
                    .violated("a drain ends in time", || format!("{} in {:?} at {:?}", open.id, open.state, now.mono));
            }
        }
        if settled && drain.gone.is_some_and(|gone| now.mono >= gone) && process.core.departure().is_none() {
            checks.violated("a process that was told to end does", || format!("{drain:?} at {:?}", now.mono));
        }
    }

    /// The process ends by itself: links are closed, records are written.
    pub fn depart(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.hub.say(|| format!("process {} ends: {:?}", process.number, process.core.departure()));
        process.writer.finish(&mut self.hub, &mut self.disk);
        for runner in &mut self.runners {
            let Some(link) = runner.link.as_ref().map(|link| link.id) else { continue };
            let pause = self.hub.random.between(MS, SEC);
            self.hub.cue(pause, runner.index(), runner.instance, super::hub::Cue::Broken(link));
        }
        let pause = self.hub.random.between(10 * MS, 10 * SEC);
        self.hub.after(pause, Event::Start);
    }
}
