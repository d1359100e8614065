//! Ends that the server decides on: cancels and the reaper (wire reference, 8).

use std::time::Instant;

use super::{
    tables::Tables,
    wire::{Stage, is_done},
};
use crate::doubles::at::At;

/// The exit code of a step that the server ended.
const EXIT_CANCELLED: i64 = 130;

impl Tables {
    /// Cancels a build: whether there was anything to end. Whoever watches is to be woken.
    pub(super) fn cancel(&mut self, build: i64) -> bool {
        let now = At::now();
        let Some(row) = self.builds.get_mut(&build) else { return false };
        let was_open = matches!(&*row.build.status, "pending" | "running");
        if was_open {
            row.build.status = "killed".to_owned();
            row.build.finished = now.unix();
            row.build.version += 1;
            row.cancelled = Some(Instant::now());
        }
        let open: Vec<i64> =
            self.stages_of(build).filter(|stage| !is_done(&stage.status)).map(|stage| stage.id).collect();
        for id in &open {
            self.close(*id, now);
        }
        was_open || !open.is_empty()
    }

    /// One pass of the reaper over the builds that `is_old` picks by the stage that makes them old.
    pub(super) fn reap(&mut self, is_old: impl Fn(&Stage) -> bool) -> Vec<i64> {
        let open = self.open_stages().filter(|stage| matches!(&*stage.status, "pending" | "running"));
        let mut builds: Vec<i64> = open.filter(|stage| is_old(stage)).map(|stage| stage.build_id).collect();
        builds.sort_unstable();
        builds.dedup();
        builds.retain(|build| self.cancel(*build));
        builds
    }

    fn close(&mut self, id: i64, now: At) {
        let Some(seen) = self.record.stages.get_mut(&id) else { return };
        let row = &mut seen.row;
        if row.started == 0 {
            row.status = "skipped".to_owned();
            row.started = now.unix();
        } else {
            row.status = "killed".to_owned();
        }
        row.stopped = now.unix();
        row.version += 1;
        seen.cancelled_at = Some(now);
        self.record.totals.closed += 1;
        for step in self.record.steps.values_mut().map(|seen| &mut seen.row) {
            if step.step_id != id || is_done(&step.status) {
                continue;
            }
            step.status = if step.started == 0 { "skipped" } else { "killed" }.to_owned();
            step.started = if step.started == 0 { now.unix() } else { step.started };
            step.stopped = now.unix();
            step.exit_code = EXIT_CANCELLED;
            step.version += 1;
        }
    }
}
