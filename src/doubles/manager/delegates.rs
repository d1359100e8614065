//! Who registered, and under which id.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::wire::Registration;

/// Delegates kept. The real manager has a limit per account, too.
pub const DELEGATES_MAX: usize = 10_000;

/// The registered delegates.
#[derive(Debug)]
pub(super) struct Delegates {
    prefix: String,
    minted: u64,
    by_identity: HashMap<Identity, Arc<str>>,
    by_id: HashMap<Arc<str>, Delegate>,
}

#[derive(Debug)]
pub(super) struct Delegate {
    task_types: HashSet<String>,
    is_runner: bool,
    capacity: Option<u32>,
    /// Tasks it has now.
    pub(super) assigned: u32,
}

/// What makes two registrations one delegate (wire reference, 3; 17.2, 11). There is one account only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    ng: bool,
    host_name: String,
    ip: Option<String>,
}

/// The account has too many delegates.
#[derive(Debug)]
pub(super) struct Full;

impl Delegates {
    /// No delegates; their ids will begin with `prefix`.
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, minted: 0, by_identity: HashMap::new(), by_id: HashMap::new() }
    }

    /// Takes the registration in: the id, and whether the delegate was known before.
    pub(super) fn register(&mut self, body: &Registration) -> Result<(Arc<str>, bool), Full> {
        let ng = body.ng.unwrap_or(false);
        let by_address = !(ng && body.delegate_type.as_deref() == Some("KUBERNETES"));
        let ip = by_address.then(|| body.ip.clone().unwrap_or_default());
        let identity = Identity { ng, host_name: body.host_name.clone().unwrap_or_default(), ip };
        let known = self.by_identity.get(&identity).cloned();
        let is_known = known.is_some();
        let id = match known {
            Some(id) => id,
            None if self.by_id.len() >= DELEGATES_MAX => return Err(Full),
            None => {
                self.minted += 1;
                let id: Arc<str> = format!("{}{}", self.prefix, self.minted).into();
                self.by_identity.insert(identity, Arc::clone(&id));
                id
            }
        };
        let delegate = self.by_id.entry(Arc::clone(&id)).or_insert(Delegate {
            task_types: HashSet::new(),
            is_runner: false,
            capacity: None,
            assigned: 0,
        });
        delegate.is_runner = body.runner == Some(true);
        if let Some(max_stages) = body.capacity_config.as_ref().and_then(|config| config.max_stages) {
            delegate.capacity = Some(max_stages);
        }
        delegate.task_types = body.supported_task_types.iter().flatten().cloned().collect();
        Ok((id, is_known))
    }

    /// Forgets one delegate, found by what it says of itself and not by its id (wire reference, 5).
    pub(super) fn unregister(&mut self, ng: bool, host_name: &str, ip: &str) -> Option<Arc<str>> {
        let identity = Identity { ng, host_name: host_name.to_owned(), ip: Some(ip.to_owned()) };
        let id = self.by_identity.remove(&identity)?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// Forgets all of them. Whoever registers again gets a new id.
    pub(super) fn forget(&mut self) {
        self.by_identity.clear();
        self.by_id.clear();
    }

    pub(super) fn get(&self, id: &str) -> Option<&Delegate> {
        self.by_id.get(id)
    }

    /// The id as it is kept, so that records share it.
    pub(super) fn id(&self, id: &str) -> Arc<str> {
        self.by_id.get_key_value(id).map_or_else(|| id.into(), |(id, _)| Arc::clone(id))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (&Arc<str>, &Delegate)> {
        self.by_id.iter()
    }

    /// Unknown ids are ignored, as the manager does.
    pub(super) fn set_capacity(&mut self, id: &str, builds_max: u32) {
        if let Some(delegate) = self.by_id.get_mut(id) {
            delegate.capacity = Some(builds_max);
        }
    }

    pub(super) fn assigned(&mut self, id: &str) {
        if let Some(delegate) = self.by_id.get_mut(id) {
            delegate.assigned += 1;
        }
    }

    pub(super) fn unassigned(&mut self, id: &str) {
        if let Some(delegate) = self.by_id.get_mut(id) {
            delegate.assigned = delegate.assigned.saturating_sub(1);
        }
    }
}

impl Delegate {
    pub(super) fn supports(&self, task_type: &str) -> bool {
        self.is_runner || self.task_types.contains(task_type)
    }

    /// The manager stops choosing a delegate only once it has *more* tasks than it announced (wire reference, 6).
    pub(super) fn has_room(&self) -> bool {
        self.capacity.is_none_or(|builds_max| self.assigned <= builds_max)
    }
}
