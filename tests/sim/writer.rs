//! The model of the journal's writer: group commit that takes its time, and tries again while the disk is full.

use std::{collections::VecDeque, sync::Arc};

use dlite::journal::{Change, Store};

use super::{
    core::{id::Lsn, input::Input, record::Entry},
    disk::Disk,
    hub::{Event, Hub},
    queue::MS,
};

const RETRY_PAUSE: u64 = 250 * MS;

/// One process's way to the disk.
#[derive(Debug, Default)]
pub struct Writer {
    queued: VecDeque<Change>,
    /// The newest record that was queued.
    pub last: u64,
    flying: Option<(Vec<Change>, u64)>,
    failing: bool,
}

// === impl Writer ===

impl Writer {
    pub fn queue(&mut self, entry: Entry) {
        self.last = entry.lsn.0;
        self.queued.push_back(match entry.body {
            Some(body) => Change::Append { scope: entry.scope, number: entry.number, body },
            None => Change::End { scope: entry.scope },
        });
    }

    /// Whether nothing is queued or being written.
    pub fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.flying.is_none()
    }

    /// Starts to write what is queued, unless something is being written.
    pub fn write(&mut self, hub: &mut Hub, process: u32) {
        if self.flying.is_none() && !self.queued.is_empty() {
            self.flying = Some((self.queued.drain(..).collect(), self.last));
            let takes = hub.random.between(100, hub.plan.sync_max);
            hub.after(takes, Event::Written { process });
        }
    }

    /// The disk is done with the batch: what the core is to be told.
    pub fn written(&mut self, hub: &mut Hub, process: u32, disk: &mut Disk) -> Vec<Input> {
        let Some((batch, last)) = self.flying.take() else { return Vec::new() };
        let mut news = Vec::new();
        match commit(hub, disk, &batch) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    news.push(Input::StoreRecovered);
                }
                news.push(Input::Durable(Lsn(last)));
                self.write(hub, process);
            }
            Err(reason) => {
                if !std::mem::replace(&mut self.failing, true) {
                    news.push(Input::StoreFailing { reason });
                }
                self.flying = Some((batch, last));
                hub.after(RETRY_PAUSE, Event::Written { process });
            }
        }
        news
    }

    /// The process ends in order: everything is written, unless the disk takes nothing.
    pub fn finish(self, hub: &mut Hub, disk: &mut Disk) {
        let batch = self.flying.map(|(batch, _)| batch).unwrap_or_default();
        let all: Vec<Change> = batch.into_iter().chain(self.queued).collect();
        let _ = commit(hub, disk, &all);
    }

    /// The process dies: a batch that was being written is there or not, what was queued is gone.
    pub fn die(self, hub: &mut Hub, disk: &mut Disk) {
        if let Some((batch, _)) = self.flying
            && hub.random.chance(500)
        {
            hub.checks.facts.dying = true;
            let _ = commit(hub, disk, &batch);
            hub.checks.facts.dying = false;
        }
    }
}

fn commit(hub: &mut Hub, disk: &mut Disk, batch: &[Change]) -> Result<(), Arc<str>> {
    match disk.commit(batch) {
        Ok(()) => {
            for change in batch {
                if let Err(what) = hub.checks.facts.learn(change) {
                    hub.checks.violated(what, || format!("{change:?}"));
                }
            }
            Ok(())
        }
        Err(dlite::journal::Error::Full) => Err("the disk is full".into()),
        Err(error) => {
            hub.checks.violated("the journal takes what the core records", || error.to_string());
            Err(error.to_string().into())
        }
    }
}
