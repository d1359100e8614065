//! The standard health service of gRPC, on every listener of ours.
//!
//! | service | `SERVING` while |
//! |---|---|
//! | `""` | `/readyz` says so |
//! | `dlite.runner.v1.RunnerService` | runners may attach: the loop turns and the delegate does not stop |
//! | `dlite.admin.v1.AdminService` | the loop turns |

use tonic::server::NamedService;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::{
    readiness::Readiness,
    vitals::{PULSE_INTERVAL, Pulse, Vitals},
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
    /// Tells that nothing is served until [`follow`](Self::follow) says otherwise.
    #[expect(clippy::new_without_default, reason = "an empty one tells of services that nobody named")]
    pub fn new() -> Self {
        Self { reporter: HealthReporter::new() }
    }

    /// For one listener.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Looks every [`PULSE_INTERVAL`] until `stop`, and leaves behind that nothing is served.
    pub async fn follow<Runners: NamedService, Admin: NamedService>(
        &self,
        vitals: Vitals,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        loop {
            let turns = vitals.pulse() == Pulse::Turns;
            self.tell(ALL, Readiness::of(&vitals).ready).await;
            self.tell(Runners::NAME, turns && !vitals.is_stopping()).await;
            self.tell(Admin::NAME, turns).await;
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(PULSE_INTERVAL) => {}
            }
        }
        for service in [ALL, Runners::NAME, Admin::NAME] {
            self.tell(service, false).await;
        }
    }

    async fn tell(&self, service: &str, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}
