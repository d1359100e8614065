//! What goes wrong, and the moment from which nothing does any more.

use super::{
    core::{command::Command, input::Input},
    hub::Event,
    plan::Fault,
    queue::{MS, SEC},
    world::{WALL, World},
};

impl World {
    pub fn fault(&mut self) {
        if self.hub.faults_over {
            return;
        }
        let pause = self.hub.random.below(2 * self.hub.plan.fault_every) + 1;
        self.hub.after(pause, Event::Fault);
        let fault = *self.hub.random.pick(&self.hub.plan.faults.clone());
        let nth = self.hub.random.below(self.runners.len() as u64) as usize;
        self.hub.say(|| format!("fault: {fault:?} (runner {nth})"));
        let hub = &mut self.hub;
        let runner = &mut self.runners[nth];
        match fault {
            Fault::CutLink if runner.link.is_some() => runner.cut(hub),
            Fault::HalfOpenLink => {
                if let Some(link) = &runner.link
                    && let Some(wire) = hub.wires.get_mut(&link.id)
                {
                    (wire.inward, wire.outward) = (false, false);
                }
            }
            Fault::CrashRunner => runner.crash(hub),
            // Somebody is left for what was promised to be done: the first runner stays.
            Fault::RetireRunner if nth > 0 && hub.random.chance(200) => {
                runner.crash(hub);
                runner.retired = true;
            }
            Fault::StallHeartbeats => runner.stall(hub),
            Fault::Unhealthy => runner.fall_ill(hub),
            Fault::Drain if runner.link.is_some() => runner.drain(hub),
            Fault::Capacity => runner.resize(hub, false),
            Fault::CrashDelegate => self.crash_delegate(),
            Fault::PauseDelegate => {
                let pause = hub.random.between(SEC, 30 * SEC);
                if let Some(process) = self.process.as_mut().filter(|process| process.paused_until <= hub.now) {
                    process.paused_until = hub.now + pause;
                    if let Some(drain) = &mut process.drain {
                        drain.put_off(pause);
                    }
                    hub.after(pause, Event::Resume { process: process.number });
                }
            }
            Fault::JumpWall => {
                // Less than what a restart may mistake for a long time: an acquire is given up after ten minutes.
                let jump = hub.random.below(360 * SEC) as i64 - 180 * SEC as i64;
                self.wall = WALL + jump;
            }
            Fault::FullDisk => self.disk.full = !self.disk.full,
            Fault::SlowDisk => hub.plan.sync_max = hub.random.between(MS, 3 * SEC),
            Fault::Outage => self.manager.outage_until = hub.now + hub.random.below(40 * SEC),
            Fault::Forget => self.manager.forgot = true,
            Fault::Rival => self.manager.lose_one(hub),
            Fault::Found => self.manager.find_one(hub),
            Fault::Abort => self.manager.abort_one(hub),
            Fault::CancelTask => self.order_cancel(),
            Fault::DrainDelegate => self.order_drain(),
            Fault::ResumeDelegate => self.order(Command::Resume),
            Fault::SignalDelegate => self.signal(),
            Fault::PauseUpstream => self.order_pause(),
            Fault::UnpauseUpstream => self.take_back_a_pause(),
            Fault::DrainRunner => self.order_runner_drain(nth),
            Fault::ResumeRunner => self.take_back_a_runner_drain(),
            Fault::Pressure => {
                self.memory = *hub.random.pick(&[40, 70, 76, 80, 84, 86, 89, 91, 99]);
                self.look_at_host();
            }
            Fault::Strain => runner.strain(hub),
            Fault::CutLink | Fault::RetireRunner | Fault::Drain => {}
        }
    }

    /// The delegate is told how full its host is.
    pub fn look_at_host(&mut self) {
        if let Some(process) = self.process.as_ref().map(|process| process.number) {
            let input = Input::Pressure(self.usage());
            self.hub.after(MS, Event::Inbox { process, input });
        }
    }

    /// From here on nothing goes wrong any more, and everything that was begun must come to its end.
    pub fn faults_end(&mut self) {
        self.hub.say(|| "faults end".to_owned());
        self.hub.faults_over = true;
        self.disk.full = false;
        self.hub.plan.sync_max = self.hub.plan.sync_max.min(100 * MS);
        for runner in &mut self.runners {
            runner.recover();
            runner.resize(&mut self.hub, true);
        }
        // What is drained for good takes nothing.
        self.order(Command::Resume);
        self.memory = 40;
        self.look_at_host();
        self.hub.after(SEC, Event::Look);
    }
}
