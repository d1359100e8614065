//! A delegate with something to show: two upstreams, runners in every state of use, a stage, logs, results that nobody takes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dlite::{
    config::Config,
    core::{
        input::ReportError,
        task::{Kind, Spec},
    },
    daemon::{self, Daemon},
    proto::{
        admin::v1::{ListTasksRequest, TaskView, admin_service_client::AdminServiceClient},
        runner::v1::TaskKind,
    },
    sdk::{Context, Failure, Handler, Payload, Runner},
    upstreams::Upstream,
};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use crate::{
    page::ask,
    support::{
        patiently,
        place::Place,
        stub::{Stub, spec},
    },
};

/// Task types, as their upstreams would name them.
pub const STEP: &str = "DLITE_CI_EXECUTE_STEP";
const SETUP: &str = "DLITE_CI_VM_INITIALIZE_TASK";
pub const LOST: &str = "CI_LOST_TASK";

/// How far steps say they are.
const PROGRESS: [(&str, f32); 4] = [
    ("compiling, 38 of 112 crates", 0.34),
    ("running tests, 150 of 214", 0.7),
    ("pulling postgres:17", 0.15),
    ("uploading artifacts", 0.92),
];

pub struct Scene {
    /// The two upstreams.
    pub prod: Arc<Stub>,
    pub drone: Arc<Stub>,
    pub config: Config,
    daemon: Daemon,
    /// Lines for the log of whichever step asks next.
    pub lines: mpsc::UnboundedSender<String>,
    /// Steps end once it is true.
    pub finish: watch::Sender<bool>,
    _place: Place,
}

// === impl Scene ===

impl Scene {
    /// Nothing is here: no runner, no task.
    pub async fn empty() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let place = Place::new();
        let mut config = place.config.clone();
        config.name = "build-host-7".to_owned();
        config.tasks_max = 2_000;
        // However full the machine is that this runs on.
        config.admission.memory.high = 99;
        config.admission.memory_pressure.high = 99;
        for marks in [
            &mut config.admission.disk,
            &mut config.admission.cpu,
            &mut config.admission.cpu_pressure,
            &mut config.admission.io_pressure,
        ] {
            marks.high = 100;
        }
        config.upstreams[0].name = "harness-prod".to_owned();
        let mut drone = config.upstreams[0].clone();
        drone.name = "drone-eu".to_owned();
        config.upstreams.push(drone);
        adjust(&mut config);
        let (prod, drone) = (Stub::new(), Stub::new());
        let upstreams = BTreeMap::from([
            ("harness-prod".into(), prod.clone() as Arc<dyn Upstream>),
            ("drone-eu".into(), drone.clone() as Arc<dyn Upstream>),
        ]);
        let daemon = patiently(daemon::start(&config, upstreams, Box::new(|_, _| {}))).await.expect("it starts");
        let (lines, said) = mpsc::unbounded_channel();
        let (finish, finished) = watch::channel(false);
        let scene = Self { prod, drone, config, daemon, lines, finish, _place: place };
        scene.attach(said, finished);
        scene
    }

    /// Two runners: one of steps, the first of which writes a log, and one of stages. They go with the test's runtime.
    fn attach(&self, said: mpsc::UnboundedReceiver<String>, finished: watch::Receiver<bool>) {
        let (said, started) = (Arc::new(tokio::sync::Mutex::new(said)), AtomicUsize::new(0));
        let step = move |context: Context, _: Payload| {
            let (said, mut finished) = (said.clone(), finished.clone());
            let (text, fraction) = PROGRESS[started.fetch_add(1, Ordering::Relaxed) % PROGRESS.len()];
            async move {
                context.progress(text, fraction);
                let log = context.log("");
                // Whoever holds it writes; the other steps write nothing.
                if let Ok(mut said) = said.try_lock() {
                    tokio::select! {
                        () = async { while let Some(line) = said.recv().await { log.line(line).await } } => {}
                        _ = finished.wait_for(|finished| *finished) => {}
                        _ = context.cancelled() => return Err(Failure::cancelled()),
                    }
                    return Ok(());
                }
                tokio::select! {
                    _ = finished.wait_for(|finished| *finished) => Ok(()),
                    _ = context.cancelled() => Err(Failure::cancelled()),
                }
            }
        };
        let at_once = |_: Context, _: Payload| async { Ok::<_, Failure>(Payload::text("{}")) };
        let builder = Runner::new("linux-builder-1").handler(Handler::new(STEP, step)).slots("default", 6);
        let vm = Runner::new("vm-runner-2")
            .handler(Handler::new(SETUP, at_once).kind(TaskKind::SessionSetup).slot_class("default"))
            .handler(Handler::new(LOST, at_once).idempotent())
            .slots("default", 4);
        for runner in [builder, vm] {
            let connection = runner.connect(format!("unix:{}", self.daemon.runners_socket.display()));
            let connection = connection.backoff(Duration::from_millis(20), Duration::from_millis(100));
            tokio::spawn(async move {
                // It is cut when the test ends.
                let _ = connection.run(std::future::pending()).await;
            });
        }
    }

    /// A busy morning: tasks in every state, so many of them on offer.
    pub async fn busy(on_offer: usize) -> Self {
        let scene = Self::with(|config| {
            for upstream in &mut config.upstreams {
                upstream.report_retry_min = Duration::from_secs(20);
                upstream.report_retry_max = Duration::from_secs(20);
            }
        })
        .await;
        for stage in ["api-gateway/deploy-staging", "web/e2e-firefox"] {
            let setup = Spec { kind: Kind::SessionSetup, session: Some(stage.into()), ..labelled(SETUP, stage) };
            scene.prod.offer_spec(&format!("setup-{}", id(stage.len())), setup);
            scene.until(|_| !scene.prod.read(|book| book.reports.is_empty())).await;
        }
        // The first one has the log.
        scene.prod.offer_spec("Zq8Xw2pLS0mVtYb1", labelled(STEP, "api-gateway"));
        scene.in_state("Zq8Xw2pLS0mVtYb1", "running").await;
        for number in 0..5 {
            scene.prod.offer_spec(&id(number), labelled(STEP, "api-gateway"));
            scene.in_state(&id(number), "running").await;
        }
        scene.drone.fail_reports(Some(ReportError::Gone("404: no such stage".into())));
        scene.drone.offer("1042", LOST);
        scene.in_state("1042", "dead").await;
        scene.drone.fail_reports(Some(ReportError::Unanswered("no answer within 10 s".into())));
        scene.drone.offer("1043", LOST);
        scene.in_state("1043", "reporting").await;
        for number in 0..on_offer {
            let task_type = if number % 7 == 3 { "MACOS_SIGN_TASK" } else { STEP };
            scene.prod.offer_spec(&id(number + 100), labelled(task_type, "web"));
        }
        scene.until(|tasks| tasks.iter().filter(|task| task.state == "listed").count() == on_offer).await;
        scene
    }

    pub fn http(&self) -> SocketAddr {
        self.daemon.http.expect("it is configured")
    }

    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        dlite::admin::client::connect(&self.daemon.admin_socket).await.expect("the admin socket")
    }

    pub async fn tasks(&self) -> Vec<TaskView> {
        let mut admin = self.admin().await;
        patiently(admin.list_tasks(ListTasksRequest {})).await.expect("a list").into_inner().tasks
    }

    /// Asks until the tasks are so, which is not announced anywhere.
    pub async fn until(&self, mut is_so: impl FnMut(&[TaskView]) -> bool) {
        patiently(async {
            while !is_so(&self.tasks().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// The delegate's id of a task, once it is in a state.
    pub async fn in_state(&self, external_id: &str, state: &str) -> String {
        let mut found = String::new();
        self.until(|tasks| {
            let task = tasks.iter().find(|task| task.external_id == external_id && task.state == state);
            found = task.map(|task| task.task_id.clone()).unwrap_or_default();
            task.is_some()
        })
        .await;
        found
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.config.state_dir.join("admin.token")).expect("a token")
    }

    /// The cookie of a browser that signed in.
    pub async fn sign_in(&self) -> String {
        let answer = ask::post(self.http(), "/ui/sign-in", "", &[("token", &self.token())]).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.cookie()
    }

    pub async fn stop(self) {
        patiently(self.daemon.stop()).await.expect("a clean stop");
    }
}

/// Looks like what a manager makes up.
fn id(number: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut letters = String::new();
    for _ in 0..16 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letters.push(char::from(LETTERS[usize::try_from(state >> 33).unwrap_or(0) % LETTERS.len()]));
    }
    format!("{letters}{number}")
}

fn labelled(task_type: &str, pipeline: &str) -> Spec {
    let labels = [("pipeline", pipeline), ("project", "payments")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Spec { labels, tenant: "acme".into(), ..spec(task_type, b"{}") }
}
