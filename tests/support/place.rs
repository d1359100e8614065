//! A daemon in process, on directories of its own that outlive it, so that it can be stopped and started again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use dlite::{
    config::{self, Config, Host, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    journal::{PageLimit, Sqlite},
    proto::admin::v1::{
        GetDelegateRequest, GetDelegateResponse, ListTasksRequest, TaskView, admin_service_client::AdminServiceClient,
    },
};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::{
    patiently,
    peer::{Peer, hello},
    stub::{NAME, Stub},
};

/// Short, so that nothing offered waits long.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Where a daemon lives.
pub struct Place {
    pub config: Config,
    directory: Arc<TempDir>,
}

/// A started daemon and its upstream.
pub struct Running {
    pub stub: Arc<Stub>,
    pub config: Config,
    daemon: Daemon,
    /// Fills the disk.
    pub disk: PageLimit,
    notes: watch::Receiver<Vec<Note>>,
    /// Stays as long as somebody lives in it.
    directory: Arc<TempDir>,
}

// === impl Place ===

impl Place {
    /// Polls often; runners' times are long, so that none of them matters unless a test shortens it.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let flags = [
            ("state_dir", path("state")),
            ("runners.socket", path("runner.sock")),
            ("admin.socket", path("admin.sock")),
            ("http.listen", "127.0.0.1:0".to_owned()),
            ("upstreams[].name", NAME.to_owned()),
            ("upstreams[].endpoint", "http://127.0.0.1:9".to_owned()),
            ("upstreams[].account_id", "account".to_owned()),
        ];
        let options = LoadOptions {
            file: None,
            environment: [("DLITE_ACCOUNT_SECRET".to_owned(), "0123456789abcdef0123456789abcdef".to_owned())].into(),
            flags: flags.map(|(key, value)| (key.to_owned(), value)).into(),
            host: Host { name: "host".to_owned(), superuser: false, mtls: std::path::PathBuf::new() },
        };
        let mut config = config::load(&options).expect("a good configuration").config;
        // How full the disk of this machine is, is nothing these tests are about.
        config.admission.disk = config::Marks { high: 100, low: 99 };
        let upstream = &mut config.upstreams[0];
        upstream.poll_interval = POLL_INTERVAL;
        upstream.heartbeat_interval = Duration::from_millis(50);
        upstream.task_types = Some(vec!["NEIGHBOUR".to_owned()]);
        upstream.report_retry_min = Duration::from_millis(20);
        upstream.report_retry_max = Duration::from_millis(50);
        Self { config, directory: Arc::new(directory) }
    }

    pub fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut place = Self::new();
        adjust(&mut place.config);
        place
    }

    /// Starts a daemon with an upstream of its own.
    pub async fn start(&self) -> Running {
        self.start_with(&Stub::new()).await
    }

    /// Starts a daemon with an upstream that may have met another one here.
    pub async fn start_with(&self, stub: &Arc<Stub>) -> Running {
        self.try_start(stub).await.expect("the daemon starts")
    }

    pub async fn try_start(&self, stub: &Arc<Stub>) -> Result<Running, daemon::Error> {
        let (sender, notes) = watch::channel(Vec::new());
        let observer =
            Box::new(move |_: &_, note: &Note| sender.send_modify(|notes: &mut Vec<Note>| notes.push(note.clone())));
        let (limit, disk) = std::sync::mpsc::channel();
        let wrap = move |store: Sqlite| {
            // The receiver is below.
            let _ = limit.send(store.page_limit());
            store
        };
        let daemon = daemon::start_on(&self.config, stub.as_upstreams(), observer, wrap).await?;
        let disk = disk.recv().expect("the daemon has a store");
        let directory = self.directory.clone();
        Ok(Running { stub: stub.clone(), config: self.config.clone(), daemon, disk, notes, directory })
    }
}

// === impl Running ===

impl Running {
    pub fn socket(&self) -> PathBuf {
        self.daemon.runners_socket.clone()
    }

    /// As SDKs want it.
    pub fn target(&self) -> String {
        format!("unix:{}", self.daemon.runners_socket.display())
    }

    pub fn listen(&self) -> std::net::SocketAddr {
        self.daemon.listen.expect("TCP is configured")
    }

    /// Where metrics and health are asked for.
    pub fn http(&self) -> std::net::SocketAddr {
        self.daemon.http.expect("it is configured")
    }

    /// A connection to the runners' socket.
    pub async fn channel(&self) -> Channel {
        let socket = self.socket();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://runners");
        endpoint.connect_with_connector(connector).await.expect("a connection")
    }

    /// A stream on a connection of its own, nothing said.
    pub async fn open(&self) -> Peer {
        Peer::open(self.channel().await, None).await.expect("a stream")
    }

    /// A welcomed runner that holds nothing, with one handler and so many slots.
    pub async fn attach(&self, runner_id: &str, task_type: &str, slots: u32) -> Peer {
        self.attach_as(hello(runner_id, "instance-1", task_type, slots)).await
    }

    pub async fn attach_as(&self, hello: dlite::proto::runner::v1::Hello) -> Peer {
        let mut peer = self.open().await;
        peer.introduce(hello).await;
        peer
    }

    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        dlite::admin::client::connect(&self.daemon.admin_socket).await.expect("the admin socket")
    }

    pub async fn status(&self) -> GetDelegateResponse {
        let mut admin = self.admin().await;
        patiently(admin.get_delegate(GetDelegateRequest {})).await.expect("a status").into_inner()
    }

    pub async fn tasks(&self) -> Vec<TaskView> {
        let mut admin = self.admin().await;
        patiently(admin.list_tasks(ListTasksRequest {})).await.expect("a list").into_inner().tasks
    }

    /// The one task of this external id, as the operator sees it.
    pub async fn task(&self, external_id: &str) -> Option<TaskView> {
        self.tasks().await.into_iter().find(|task| task.external_id == external_id)
    }

    /// Asks until the task is in a state, which is not announced anywhere.
    pub async fn task_in(&self, external_id: &str, state: &str) -> TaskView {
        patiently(async {
            loop {
                match self.task(external_id).await {
                    Some(task) if task.state == state => return task,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }

    /// Puts the live part of a configuration in force.
    pub async fn reload(&self, config: &Config) {
        patiently(self.daemon.reconfigure(config)).await;
    }

    /// Waits for a note.
    pub async fn noted<T>(&self, mut look: impl FnMut(&Note) -> Option<T>) -> T {
        let mut notes = self.notes.clone();
        let mut found = None;
        let waited = notes.wait_for(|notes| {
            found = notes.iter().find_map(&mut look);
            found.is_some()
        });
        patiently(waited).await.expect("the daemon lives");
        found.expect("it was waited for")
    }

    /// How many notes so far are such.
    pub fn count_notes(&self, look: impl Fn(&Note) -> bool) -> usize {
        self.notes.borrow().iter().filter(|note| look(note)).count()
    }

    /// As after a SIGTERM.
    pub async fn stop(self) {
        patiently(self.daemon.stop()).await.expect("a clean stop");
    }
}
