//! The model manager: offers tasks, hands each to the first who acquires it, and notes every result it is sent.
//!
//! The first answer for a live task is *effective*, later ones are *repeats*.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    core::{
        effect::{Answerable, Call},
        id::{ExternalId, TaskType, UpstreamName},
        input::{AcquireError, Answer, CallError, Listed, Listing, Registered, ReportError, Standing, Told},
        record::Host,
        task::{Finish, Kind, Payload, Priority, Spec},
    },
    hub::Hub,
    plan,
    queue::{At, SEC},
};

/// Longer than a doubled request takes: whoever is told "no" is not assigned the task by the echo of the same request.
const TEASE: u64 = 5 * SEC;

#[derive(Debug, Default)]
pub struct Manager {
    pub offers: Vec<Offer>,
    /// Until when it answers nothing but failures.
    pub outage_until: At,
    /// It does not know the delegate any more.
    pub forgot: bool,
    aborts: Vec<ExternalId>,
    pub polls: u64,
}

#[derive(Debug)]
pub struct Offer {
    pub id: ExternalId,
    /// Under which name it is offered.
    pub upstream: UpstreamName,
    pub spec: Spec,
    pub place: Place,
    temper: Temper,
    teases_until: At,
    /// It was forgotten at some time.
    lost: bool,
    pub aborted: bool,
    pub effective: Option<Body>,
}

/// Whose a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Listed,
    Ours,
    /// Another delegate has it, or it was withdrawn before anyone had it.
    Elsewhere,
    Answered,
    /// It was ours, and the manager forgot it; it may come up again.
    Lost,
}

/// How it takes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Honest,
    /// It takes nothing but the minimal failure.
    Refuses,
    /// It answers 500 to anything but the minimal failure.
    Chokes,
    /// It takes nothing at all.
    Hates,
    Forgets,
    /// Hands the data out a first time without assigning it.
    Teases,
}

/// What a result says.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub finish: Arc<Finish>,
    pub minimal: bool,
}

// === impl Manager ===

impl Manager {
    /// A further task is offered.
    pub fn submit(&mut self, hub: &mut Hub) {
        let nth = self.offers.len();
        let random = &mut hub.random;
        let part = plan::any_part(random);
        let timeout = random.chance(hub.plan.timeouts).then(|| Duration::from_secs(random.between(5, 60)));
        let odd = random.chance(hub.plan.odd_answers);
        let temper = match random.below(5) {
            _ if !odd => Temper::Honest,
            0 => Temper::Refuses,
            1 => Temper::Chokes,
            2 => Temper::Hates,
            3 => Temper::Forgets,
            _ => Temper::Teases,
        };
        let os = random.pick(&["linux", "linux", "linux", "darwin"]);
        let spec = Spec {
            priority: *random.pick(&[Priority::High, Priority::Normal, Priority::Low]),
            payload: Some(Payload { content_type: "text/plain".into(), content: Bytes::from(format!("task {nth}")) }),
            labels: BTreeMap::from([("os".to_owned(), (*os).to_owned())]),
            timeout,
            // No draw, so that the other half of all histories stays as it is.
            hand_back: nth % 2 == 1,
            session: part.session,
            cleanup: part.cleanup,
            ..Spec::new(part.task_type, part.kind)
        };
        let id = ExternalId::from(format!("e-{nth}"));
        let names: Vec<&UpstreamName> = hub.plan.upstreams.keys().collect();
        let upstream = names[nth % names.len()].clone();
        hub.checks.offered(&id, spec.kind);
        hub.say(|| format!("manager: offers {id} ({}, {temper:?}, timeout {timeout:?})", spec.task_type));
        self.offers.push(Offer {
            id,
            upstream,
            spec,
            place: Place::Listed,
            temper,
            teases_until: 0,
            lost: false,
            aborted: false,
            effective: None,
        });
    }

    pub fn offer(&mut self, id: &ExternalId) -> &mut Offer {
        let nth: usize = id.0[2..].parse().expect("the manager made the id");
        &mut self.offers[nth]
    }

    /// Another delegate is faster.
    pub fn lose_one(&mut self, hub: &mut Hub) {
        let listed: Vec<usize> = self.placed(Place::Listed);
        if !listed.is_empty() {
            let nth = *hub.random.pick(&listed);
            self.offers[nth].place = Place::Elsewhere;
            hub.say(|| format!("manager: e-{nth} goes elsewhere"));
        }
    }

    /// A person aborts a task: the delegate hears of it once.
    pub fn abort_one(&mut self, hub: &mut Hub) {
        let ours: Vec<usize> = self.placed(Place::Ours).into_iter().filter(|nth| !self.offers[*nth].aborted).collect();
        if !ours.is_empty() {
            let nth = *hub.random.pick(&ours);
            self.offers[nth].aborted = true;
            self.aborts.push(self.offers[nth].id.clone());
            hub.say(|| format!("manager: aborts e-{nth}"));
        }
    }

    /// A task that was lost comes up again, under its old id.
    pub fn find_one(&mut self, hub: &mut Hub) {
        if let Some(nth) = self.placed(Place::Lost).first().copied() {
            let offer = &mut self.offers[nth];
            (offer.place, offer.temper, offer.aborted) = (Place::Listed, Temper::Honest, false);
            hub.say(|| format!("manager: finds e-{nth} again"));
        }
    }

    fn placed(&self, place: Place) -> Vec<usize> {
        (0..self.offers.len()).filter(|nth| self.offers[*nth].place == place).collect()
    }

    /// Task types that are still on offer.
    pub fn listed_types(&self) -> impl Iterator<Item = &TaskType> {
        self.offers.iter().filter(|offer| offer.place == Place::Listed).map(|offer| &offer.spec.task_type)
    }

    /// Does what a call asks for and says what comes of it.
    pub fn serve(&mut self, hub: &mut Hub, upstream: &UpstreamName, call: &Call) -> Answer {
        if hub.now < self.outage_until {
            // As from a proxy before it, which knows of no task.
            return unanswered(call);
        }
        if hub.goes_wrong(hub.plan.failed) {
            return fault(call, "500");
        }
        match call {
            Call::Register { host, .. } => {
                self.forgot = false;
                let host = host.clone().unwrap_or_else(|| Host { name: "host".into(), ip: "10.0.0.1".into() });
                Answer::Register(Ok(Registered { delegate_id: "delegate-1".into(), host, moved_to: None }))
            }
            Call::Heartbeat { .. } => {
                Answer::Heartbeat(Ok(if self.forgot { Standing::Forgotten } else { Standing::Known }))
            }
            Call::Poll { .. } => {
                self.polls += 1;
                if self.forgot {
                    return Answer::Poll(Ok(Listing::default()));
                }
                let ours = |offer: &&Offer| offer.place == Place::Listed && offer.upstream == *upstream;
                let listed = self.offers.iter().filter(ours);
                let tasks = listed
                    .map(|offer| Listed {
                        labels: None,
                        external_id: offer.id.clone(),
                        task_type: offer.spec.task_type.clone(),
                        // Some upstreams tell, some do not.
                        kind: if offer.spec.hand_back { offer.spec.kind } else { Kind::Standalone },
                        unsupported: false,
                    })
                    .collect();
                let (told, kept) =
                    std::mem::take(&mut self.aborts).into_iter().partition(|id| self.offer(id).upstream == *upstream);
                self.aborts = kept;
                Answer::Poll(Ok(Listing { tasks, aborts: told, quiet: false }))
            }
            Call::Acquire { task, external_id, .. } => {
                // Forgotten or not, what was assigned to this identity is its own.
                let forgot = self.forgot;
                let offer = self.offer(external_id);
                let result = if forgot && offer.place == Place::Listed {
                    offer.teases_until = hub.now + TEASE;
                    Err(AcquireError::Refused("unknown delegate".into()))
                } else {
                    offer.acquire(hub.now)
                };
                Answer::Acquire { task: *task, result }
            }
            Call::Tell { task, news } => {
                // One request for each step, as an adapter does.
                let told = news.told.as_ref().map_or(0, |told| told.len());
                let note = (told < news.steps.len()).then(|| vec![0; told + 1].into());
                Answer::Tell { task: *task, result: Ok(Told { note, behind: told + 1 < news.steps.len() }) }
            }
            Call::Report { task, report } => {
                Answer::Report { task: *task, result: self.offer(&report.external_id).answer(report) }
            }
        }
    }
}

// === impl Offer ===

impl Offer {
    /// The same delegate may ask again: it is given the same.
    fn acquire(&mut self, now: At) -> Result<Box<Spec>, AcquireError> {
        match self.place {
            Place::Listed if self.temper == Temper::Teases || now < self.teases_until => {
                if self.temper == Temper::Teases {
                    self.temper = Temper::Honest;
                }
                self.teases_until = now + TEASE;
                Err(AcquireError::Unassigned)
            }
            Place::Listed | Place::Ours => {
                self.place = Place::Ours;
                Ok(Box::new(self.spec.clone()))
            }
            Place::Elsewhere | Place::Answered | Place::Lost => Err(AcquireError::Refused("404".into())),
        }
    }

    fn answer(&mut self, report: &Answerable) -> Result<(), ReportError> {
        let minimal = report.refusal.is_some();
        match self.temper {
            Temper::Refuses if !minimal => return Err(ReportError::Refused("400".into())),
            Temper::Hates => return Err(ReportError::Refused("422".into())),
            Temper::Chokes if !minimal => return Err(ReportError::Fault("500: cannot read it".into())),
            Temper::Forgets if self.place == Place::Ours => {
                (self.place, self.lost) = (Place::Lost, true);
                return Err(ReportError::Gone("404".into()));
            }
            _ => {}
        }
        if self.place == Place::Ours && report.hand_back {
            // Another delegate could have it now; here it is offered to the same one again.
            (self.place, self.aborted) = (Place::Listed, false);
        } else if self.place == Place::Ours {
            self.place = Place::Answered;
            self.effective = Some(Body { finish: report.finish.clone(), minimal });
        }
        Ok(())
    }

    /// Whether there is nothing more to come for it.
    pub fn is_settled(&self) -> bool {
        self.place != Place::Ours || self.temper == Temper::Hates
    }

    /// Whether its result may end as a dead letter.
    pub fn may_be_buried(&self) -> bool {
        self.lost || matches!(self.temper, Temper::Refuses | Temper::Chokes | Temper::Hates)
    }
}

/// A failure that says nothing about the task.
fn fault(call: &Call, text: &str) -> Answer {
    let text: Arc<str> = text.into();
    match call {
        Call::Register { .. } => Answer::Register(Err(CallError::Failed(text))),
        Call::Heartbeat { .. } => Answer::Heartbeat(Err(CallError::Failed(text))),
        Call::Poll { .. } => Answer::Poll(Err(CallError::Failed(text))),
        Call::Acquire { task, .. } => Answer::Acquire { task: *task, result: Err(AcquireError::Unanswered(text)) },
        Call::Tell { task, .. } => Answer::Tell { task: *task, result: Err(ReportError::Fault(text)) },
        Call::Report { task, .. } => Answer::Report { task: *task, result: Err(ReportError::Fault(text)) },
    }
}

/// What the delegate makes of silence.
pub fn unanswered(call: &Call) -> Answer {
    match call {
        Call::Report { task, .. } => {
            Answer::Report { task: *task, result: Err(ReportError::Unanswered("no answer".into())) }
        }
        call => fault(call, "no answer"),
    }
}
