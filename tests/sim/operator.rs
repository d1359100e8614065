//! Orders and signals to the delegate.

use std::time::Duration;

use super::{
    core::{
        command::Command,
        drain::Mode,
        id::{RequestId, TaskId, UpstreamName},
        input::Input,
    },
    hub::Event,
    queue::SEC,
    world::World,
};

impl World {
    /// Gives an order to the process there is, if there is one.
    pub fn order(&mut self, command: Command) {
        let Some(process) = &self.process else { return };
        let input = Input::Commanded { request: RequestId(self.inputs), command };
        self.hub.after(0, Event::Inbox { process: process.number, input });
    }

    pub fn order_cancel(&mut self) {
        let Some(process) = &self.process else { return };
        let tasks: Vec<TaskId> = process.core.ledger().tasks().map(|task| task.id).collect();
        if tasks.is_empty() {
            return;
        }
        let random = &mut self.hub.random;
        let task = *random.pick(&tasks);
        let grace = random.chance(700).then(|| Duration::from_micros(random.below(60 * SEC)));
        let force = random.chance(200);
        self.order(Command::CancelTask { task, message: "the operator says so".into(), grace, force });
    }

    pub fn order_drain(&mut self) {
        let mode = self.any_mode();
        let random = &mut self.hub.random;
        let grace = random.below(30 * SEC) * random.below(2);
        self.order(Command::Drain { mode, grace: Some(Duration::from_micros(grace)), reason: "a drain".into() });
    }

    pub fn order_pause(&mut self) {
        let names: Vec<UpstreamName> = self.hub.plan.upstreams.keys().cloned().collect();
        let upstream = self.hub.random.pick(&names).clone();
        self.order(Command::PauseUpstream { upstream, reason: "a pause".into() });
    }

    pub fn take_back_a_pause(&mut self) {
        let Some(process) = &self.process else { return };
        let mut names = self.hub.plan.upstreams.keys();
        let paused = names.find(|name| process.core.ledger().pause(name).is_some()).cloned();
        if let Some(upstream) = paused {
            self.order(Command::ResumeUpstream { upstream });
        }
    }

    pub fn order_runner_drain(&mut self, nth: usize) {
        let runner = self.runners[nth].id.clone();
        let random = &mut self.hub.random;
        let grace = random.chance(500).then(|| Duration::from_micros(random.below(60 * SEC)));
        self.order(Command::DrainRunner { runner, grace, reason: "a new disk".into() });
    }

    pub fn take_back_a_runner_drain(&mut self) {
        let Some(process) = &self.process else { return };
        let drained = process.core.ledger().drained_runners().next().cloned();
        if let Some(runner) = drained {
            self.order(Command::ResumeRunner { runner });
        }
    }

    /// A first signal, and perhaps more.
    pub fn signal(&mut self) {
        let mode = self.any_mode();
        self.order(Command::Stop { mode, reason: "a signal".into() });
        let Some(process) = &self.process else { return };
        if self.hub.random.chance(500) {
            let pause = self.hub.random.below(20 * SEC);
            self.hub.after(pause, Event::Signal { process: process.number });
        }
    }

    /// A further signal: the process waits no more.
    pub fn signalled(&mut self, number: u32) {
        if self.process.as_ref().is_some_and(|process| process.number == number) {
            self.order(Command::Hurry { reason: "a second signal".into() });
        }
    }

    fn any_mode(&mut self) -> Mode {
        *self.hub.random.pick(&[Mode::FinishSessions, Mode::FinishTasks, Mode::FinishTasks, Mode::Cancel])
    }
}
