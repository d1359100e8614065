//! The network between delegate and manager: it may lose, delay or double a call, and every call is answered, by silence at the
//! latest.

use super::{
    core::{effect::Call, id::UpstreamName, input::Input},
    hub::{Event, Fate, Hub},
    manager, plan,
    queue::MS,
    world::World,
};

impl World {
    /// Sends a call over a network that may lose, delay or double it. Every call is answered, by silence at the latest.
    pub fn call(&mut self, process: u32, upstream: UpstreamName, call: Call) {
        let hub = &mut self.hub;
        let mut fate = Fate {
            request_lost: hub.goes_wrong(hub.plan.lost_requests),
            answer_lost: hub.goes_wrong(hub.plan.lost_answers),
            echo: false,
        };
        let delay = Self::call_delay(hub);
        // A proxy that repeats a hand-back by itself can't be told from a delegate that does.
        let repeatable = !matches!(&call, Call::Report { report, .. } if report.hand_back);
        if hub.goes_wrong(hub.plan.doubled) && repeatable {
            let later = delay + hub.random.below(500 * MS);
            let (call, fate) = (call.clone(), Fate { echo: true, ..fate });
            hub.after(later, Event::Call { process, upstream: upstream.clone(), call, fate });
        }
        if fate.request_lost || fate.answer_lost {
            let answer = manager::unanswered(&call);
            let input = Input::Answered { upstream: upstream.clone(), answer };
            hub.after(plan::CALL_TIMEOUT, Event::Inbox { process, input });
            fate.answer_lost = true;
        }
        if !fate.request_lost {
            hub.after(delay, Event::Call { process, upstream, call, fate });
        }
    }

    fn call_delay(hub: &mut Hub) -> u64 {
        let late = hub.goes_wrong(hub.plan.late);
        hub.latency() + if late { hub.random.below(plan::LATE_MAX / 2) } else { 0 }
    }

    pub fn called(&mut self, process: u32, upstream: UpstreamName, call: &Call, fate: Fate) {
        let answer = self.manager.serve(&mut self.hub, &upstream, call);
        self.hub.say(|| format!("  manager: {call:?} -> {answer:?} {fate:?}"));
        if fate.echo || fate.answer_lost {
            return;
        }
        let delay = Self::call_delay(&mut self.hub);
        let input = Input::Answered { upstream, answer };
        self.hub.after(delay, Event::Inbox { process, input });
    }
}
