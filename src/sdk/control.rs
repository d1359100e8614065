//! What a running runner can change about itself.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use super::error::RunError;
use crate::proto::runner::v1::{Capacity, RunnerHealth};

/// Bounds of the protocol.
const CLASSES_MAX: usize = 16;
const SLOTS_MAX: u64 = 10_000;
const NAME_BYTES_MAX: usize = 128;

/// Changes a runner's health and capacity, before and while it runs; cheap to clone. From
/// [`Connection::control`](super::Connection::control).
#[derive(Debug, Clone)]
pub struct Control {
    settings: Arc<watch::Sender<Settings>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub capacity: Capacity,
    pub health: RunnerHealth,
}

// === impl Control ===

impl Control {
    pub(crate) fn new(slots: BTreeMap<String, u32>) -> Self {
        let capacity = Capacity { slots, refuse_new_sessions: false };
        Self { settings: Arc::new(watch::Sender::new(Settings { capacity, health: RunnerHealth::Ok })) }
    }

    /// How the runner feels: `Degraded` is shown to the operator, `Unhealthy` gets no new tasks; running ones go on. Told at once.
    pub fn set_health(&self, health: RunnerHealth) {
        self.change(|settings| settings.health = health);
    }

    /// How many tasks of a slot class may run at once from now on. Fewer than run: nothing is taken back, nothing new is sent.
    ///
    /// # Errors
    /// [`RunError::Setup`] for a name that is empty or longer than 128 bytes, and beyond 16 classes or 10,000 slots in all.
    pub fn set_slots(&self, class: impl Into<String>, count: u32) -> Result<(), RunError> {
        let class = class.into();
        let mut slots = self.settings.borrow().capacity.slots.clone();
        slots.insert(class.clone(), count);
        check_slots(&slots)?;
        self.change(|settings| {
            settings.capacity.slots.insert(class, count);
        });
        Ok(())
    }

    /// True: no setup is assigned, so that no new session begins here; those that are open go on.
    pub fn refuse_new_sessions(&self, refuse: bool) {
        self.change(|settings| settings.capacity.refuse_new_sessions = refuse);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Settings> {
        self.settings.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.settings.send_if_modified(|settings| {
            let before = settings.clone();
            change(settings);
            *settings != before
        });
    }
}

/// The protocol's bounds on slots.
pub(crate) fn check_slots(slots: &BTreeMap<String, u32>) -> Result<(), RunError> {
    let complain = |why: &str| Err(RunError::Setup { field: "slots".to_owned(), why: why.to_owned() });
    if slots.len() > CLASSES_MAX || slots.values().copied().map(u64::from).sum::<u64>() > SLOTS_MAX {
        return complain("give up to 16 classes and 10,000 slots in all");
    }
    if !slots.keys().all(|class| (1..=NAME_BYTES_MAX).contains(&class.len())) {
        return complain("give each class a name of 1 to 128 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_beyond_the_bounds_are_refused_and_change_nothing() {
        let control = Control::new(BTreeMap::from([("default".to_owned(), 4)]));
        let settings = control.subscribe();
        let error = control.set_slots("default", 10_001).expect_err("too many").to_string();
        assert_eq!(error, "slots: give up to 16 classes and 10,000 slots in all");
        let error = control.set_slots("", 1).expect_err("no name").to_string();
        assert_eq!(error, "slots: give each class a name of 1 to 128 bytes");
        control.set_slots("default", 4).expect("as it is");
        assert!(!settings.has_changed().expect("the control lives"));
        control.set_slots("default", 2).expect("fewer");
        assert_eq!(settings.borrow().capacity.slots["default"], 2);
    }
}
