//! How full the host is, read from the outside: control group, /proc, file system.
//!
//! ```text
//!   cgroup (v2) ──┐
//!        /proc ───┼─► Sampler ── smoothed, the fullest of each ──► Input::Pressure, if it is news
//!     statvfs ────┘
//! ```
//!
//! It owns sources and the pace of reading them. What a reading means for a task is the core's, in `admission`; nothing here
//! decides anything. A source that can't be read is left out, once said in the log, and asked again with the next sample: a host
//! without control groups or pressure figures is a host with less to look at, not an error.

mod cgroup;
mod cpu;
mod disk;
mod proc;
mod read;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

pub use self::{cgroup::own as own_group, read::LeftOut};
use crate::{
    core::{
        admission::{Limits, Resource, Usage},
        input::Input,
    },
    inbox::Event,
};

/// By how many points a figure must have moved to be told while it is below its low mark.
const NEWS_POINTS: u8 = 5;

/// One figure's origin.
pub trait Source: Send {
    /// As the log names it.
    fn name(&self) -> Arc<str>;

    /// What is known now, in whole percents; empty if it takes a further look to know. `now` never goes back.
    ///
    /// # Errors
    /// If there is nothing to read, or nothing that makes sense.
    fn read(&mut self, now: Instant) -> Result<Usage, LeftOut>;
}

/// Where a host is read.
#[derive(Clone, Debug)]
pub struct Places {
    pub proc: PathBuf,
    /// Absent: this process' own group, if it has one.
    pub cgroup: Option<PathBuf>,
    pub disk: PathBuf,
}

/// A source by what it tells of.
type Of = (Resource, Box<dyn Source>);

/// All sources of one host.
pub struct Sampler {
    sources: Vec<Watched>,
    limits: Limits,
    /// As last told.
    told: Usage,
}

struct Watched {
    source: Box<dyn Source>,
    /// Why it is left out, as last said.
    left_out: Option<LeftOut>,
}

// === impl Sampler ===

impl Sampler {
    /// The sources of this host. Those of resources without marks are not read at all.
    pub fn of_host(places: &Places, limits: &Limits) -> Self {
        let mut sources = proc::sources(&places.proc);
        sources.push((Resource::Disk, Box::new(disk::Disk::new(&places.disk))));
        match places.cgroup.clone().map_or_else(|| cgroup::own(&places.proc), Ok) {
            Ok(group) => sources.extend(cgroup::sources(&group)),
            Err(reason) => tracing::info!(%reason, "admission looks at no control group"),
        }
        sources.retain(|(resource, _)| limits.marks.contains_key(resource));
        Self::new(sources.into_iter().map(|(_, source)| source).collect(), limits.clone())
    }

    pub fn new(sources: Vec<Box<dyn Source>>, limits: Limits) -> Self {
        let sources = sources.into_iter().map(|source| Watched { source, left_out: None }).collect();
        Self { sources, limits, told: Usage::new() }
    }

    /// Reads every source; of several figures for one resource the fullest counts.
    pub fn sample(&mut self, now: Instant) -> Usage {
        let mut usage = Usage::new();
        for watched in &mut self.sources {
            match watched.source.read(now) {
                Ok(part) => {
                    if watched.left_out.take().is_some() {
                        tracing::info!(source = %watched.source.name(), "admission looks at it again");
                    }
                    for (resource, percent) in part {
                        let fullest = usage.entry(resource).or_default();
                        *fullest = percent.max(*fullest);
                    }
                }
                Err(reason) => {
                    if watched.left_out.as_ref() != Some(&reason) {
                        tracing::info!(source = %watched.source.name(), %reason, "admission leaves it out");
                    }
                    watched.left_out = Some(reason);
                }
            }
        }
        usage.retain(|resource, _| self.limits.marks.contains_key(resource));
        usage
    }

    /// The same, if the core should know: something moved, or is above the mark at which a gate opens.
    pub fn news(&mut self, now: Instant) -> Option<Usage> {
        let usage = self.sample(now);
        let same_figures = usage.keys().eq(self.told.keys());
        let told = &self.told;
        let is_news = |(resource, percent): (&Resource, &u8)| {
            let before = told.get(resource).copied().unwrap_or_default();
            let low = self.limits.marks.get(resource).map_or(u8::MAX, |marks| marks.low);
            let high_up = *percent > low || before > low;
            percent.abs_diff(before) >= if high_up { 1 } else { NEWS_POINTS }
        };
        if same_figures && !usage.iter().any(is_news) {
            return None;
        }
        self.told.clone_from(&usage);
        Some(usage)
    }
}

/// Tells the driver until `stop`, and only while `wanted`: a delegate that nobody is attached to looks at nothing.
pub async fn run(
    mut sampler: Sampler,
    interval: Duration,
    driver: mpsc::Sender<Event>,
    mut wanted: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) {
    let looking = async {
        let mut pace = tokio::time::interval(interval);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            // A file system that does not answer holds up this look and no other part of the delegate.
            let look = tokio::task::spawn_blocking(move || {
                let news = sampler.news(Instant::now());
                (sampler, news)
            });
            let Ok((back, news)) = look.await else { return };
            sampler = back;
            if let Some(usage) = news
                && driver.send(Event::Input(Input::Pressure(usage))).await.is_err()
            {
                return;
            }
            pace.tick().await;
        }
    };
    tokio::select! {
        () = looking => {}
        () = stop => {}
    }
}

#[cfg(test)]
mod tests;
