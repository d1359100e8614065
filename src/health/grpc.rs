//! The standard health service of gRPC, on every listener of ours.
//!
//! | service | `SERVING` while |
//! |---|---|
//! | `dlite.runner.v1.RunnerService` | runners may attach: the loop turns and the delegate does not stop |
//! | `dlite.admin.v1.AdminService` | the loop turns |
//! | `""` | tasks are taken: as the runners', and the delegate does not drain |
//!
//! Whether a runner is attached is no part of it, for runners ask here whether to attach; `/readyz` tells that.

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::vitals::{PULSE_INTERVAL, Pulse, Vitals};
use crate::{
    core::drain::Phase,
    proto::{
        admin::v1::admin_service_server::SERVICE_NAME as OPERATORS,
        runner::v1::runner_service_server::SERVICE_NAME as RUNNERS,
    },
};

/// The whole process, as the health service names it.
const ALL: &str = "";

/// The judgement for all listeners; clones tell the same.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

// === impl Health ===

impl Health {
    /// Tells how it is now, until the next [`look`](Self::look).
    pub async fn of(vitals: &Vitals) -> Self {
        let health = Self { reporter: HealthReporter::new() };
        health.look(vitals).await;
        health
    }

    /// For one listener.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Looks every [`PULSE_INTERVAL`] until `stop`, and leaves behind that nothing is served.
    pub async fn follow(&self, vitals: &Vitals, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            self.look(vitals).await;
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(PULSE_INTERVAL) => {}
            }
        }
        for service in [ALL, RUNNERS, OPERATORS] {
            self.tell(service, false).await;
        }
    }

    /// Tells how it is now.
    pub async fn look(&self, vitals: &Vitals) {
        let turns = vitals.pulse() == Pulse::Turns;
        let attachable = turns && !vitals.is_stopping();
        let drains = vitals.gauges().is_some_and(|gauges| gauges.phase != Phase::Serving);
        self.tell(ALL, attachable && !drains).await;
        // A runner with a task of a draining delegate comes back to it after a cut.
        self.tell(RUNNERS, attachable).await;
        self.tell(OPERATORS, turns).await;
    }

    async fn tell(&self, service: &str, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}
