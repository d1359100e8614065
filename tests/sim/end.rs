//! The end of a history: everything that was begun must be done, and the accounts must balance.

use super::{
    core,
    hub::Event,
    manager::Place,
    queue::{MS, SEC},
    world::World,
};

/// How long after the last fault everything must be done.
const PATIENCE: u64 = 1_200 * SEC;
/// How long it must stay so, for late answers and the last heartbeats.
const REST: u64 = 30 * SEC;

impl World {
    pub fn look(&mut self) {
        // Both are on record, so an order that got lost with its process is given again.
        self.take_back_a_pause();
        self.take_back_a_runner_drain();
        let waiting_for = self.waiting_for();
        match (&waiting_for, self.settled) {
            (None, None) => self.settled = Some(self.hub.now),
            (None, Some(since)) if self.hub.now - since >= REST => return self.conclude(),
            (None, Some(_)) => {}
            (Some(_), _) => self.settled = None,
        }
        if let Some(waiting_for) = waiting_for
            && self.hub.now > self.hub.plan.faults_end + PATIENCE
        {
            return self.hub.checks.violated("nothing is stuck once faults end", || waiting_for);
        }
        self.hub.after(5 * SEC, Event::Look);
    }

    /// What is not done yet.
    fn waiting_for(&self) -> Option<String> {
        let Some(process) = &self.process else { return Some("the delegate to start".to_owned()) };
        let served = |task_type: &core::id::TaskType| {
            let mut runners = self.runners.iter().filter(|runner| !runner.retired);
            runners.any(|runner| runner.profile().handlers.iter().any(|handler| handler.task_type == *task_type))
        };
        if let Some(task_type) = self.manager.listed_types().find(|task_type| served(task_type)) {
            return Some(format!("a task of type {task_type} to be acquired"));
        }
        // A hand-back that was lost leaves the task to the manager's own timeout.
        let given_back = |id| self.hub.checks.facts.gave_back(id);
        if let Some(offer) = self.manager.offers.iter().find(|offer| !offer.is_settled() && !given_back(&offer.id)) {
            return Some(format!("the result of {}", offer.id));
        }
        let ledger = process.core.ledger();
        if let Some((task, _)) = ledger.intentions().next() {
            return Some(format!("the acquire of {task}"));
        }
        if let Some(task) = ledger.tasks().find(|task| !ledger.dead_letters().contains(&task.id)) {
            return Some(format!("{} in {:?}", task.id, task.state));
        }
        if let Some(session) = ledger.sessions().next() {
            return Some(format!("{:?} session {} to end", session.phase, session.id));
        }
        let busy = self.runners.iter().find(|runner| !runner.work.is_empty())?;
        Some(format!("runner {} to be rid of {:?}", busy.index(), busy.work.keys().collect::<Vec<_>>()))
    }

    /// All is done: the accounts are checked.
    fn conclude(&mut self) {
        self.done = true;
        self.compare(0);
        let Some(process) = &self.process else { return };
        let checks = &mut self.hub.checks;
        for runner in process.core.status().runners {
            if runner.slots_used != 0 {
                checks.violated("all credits come back", || format!("{}: {} used", runner.runner, runner.slots_used));
            }
        }
        for offer in &self.manager.offers {
            match (&offer.place, &offer.effective) {
                (Place::Answered, None) | (Place::Ours, Some(_)) => {
                    checks.violated("one effective result a task", || offer.id.to_string());
                }
                (_, Some(body)) if !checks.was_reported(&offer.id, &body.finish) => {
                    checks.violated("the effective result is the reported one", || offer.id.to_string());
                }
                _ => {}
            }
        }
        // At the interval minus a tenth, once for each acquired task, and once for each start.
        let upstreams = self.hub.plan.upstreams.len() as u64;
        let each = self.hub.now / (3_600 * MS) + u64::from(self.processes) * 2 + 2;
        let polls = each * upstreams + checks.acquired;
        let doubled = if self.hub.plan.doubled > 0 { self.manager.polls / 4 + 10 } else { 0 };
        if self.manager.polls > polls + doubled {
            checks.violated("polls keep their cadence", || format!("{} polls, {polls} expected", self.manager.polls));
        }
    }
}
