//! A delegate in this process, with one runner, configured by a file in a directory of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use dlite::{
    config::{self, Config, Host, LoadOptions},
    daemon::{self, Daemon},
    doubles::manager::{Manager, NewTask, Options},
    sdk::{Context, Handler, Payload, Runner},
    upstreams::{self, tls::install_crypto_provider},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const OTHER_SECRET: &str = "00112233445566778899aabbccddeeff";
pub const ACCOUNT: &str = "acctEXAMPLE0000000001";
pub const TYPE: &str = "WORK";
/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);

/// A directory with files and a configuration.
pub struct Desk {
    directory: TempDir,
}

/// A delegate at work.
pub struct Lab {
    pub desk: Desk,
    daemon: Daemon,
    runner: JoinHandle<()>,
}

pub async fn manager(account: &str) -> Manager {
    Manager::start(Options::new(account, SECRET.parse().unwrap())).await.unwrap()
}

/// A task of this id, or of one that the double makes.
pub fn task(id: Option<&str>) -> NewTask {
    NewTask { id: id.map(str::to_owned), ..NewTask::new(TYPE, "{}") }
}

/// One `[[upstreams]]`, with further lines.
pub fn upstream(name: &str, endpoint: &str, more: &str) -> String {
    format!(
        r#"[[upstreams]]
name = "{name}"
endpoint = "{endpoint}"
account_id = "{ACCOUNT}"
account_secret_file = "secret"
poll_interval = "50ms"
heartbeat_interval = "1s"
request_timeout = "20s"
report_retry_min = "50ms"
report_retry_max = "500ms"
{more}
"#
    )
}

// === impl Desk ===

impl Desk {
    pub fn new() -> Self {
        install_crypto_provider();
        // Socket paths are short; those of temporary directories elsewhere may not be.
        let desk = Self { directory: tempfile::Builder::new().prefix("dln").tempdir().unwrap() };
        desk.write("secret", SECRET.as_bytes());
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// By a new file in the old one's place, mode 0600.
    pub fn write(&self, name: &str, content: &[u8]) {
        let fresh = self.path(&format!("{name}.fresh"));
        std::fs::write(&fresh, content).unwrap();
        std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(fresh, self.path(name)).unwrap();
    }

    pub fn copy(&self, from: &Path, name: &str) {
        self.write(name, &std::fs::read(from).unwrap());
    }

    pub fn configure(&self, upstreams: &str) {
        let text = format!(
            "name = \"lab\"\nstate_dir = \"state\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n[runners]\nsocket = \"r.sock\"\n{upstreams}"
        );
        self.write("dlite.toml", text.as_bytes());
    }

    pub fn load(&self) -> Config {
        let host = Host { name: "lab".into(), superuser: false, mtls: self.path("mtls") };
        let file = Some(self.path("dlite.toml"));
        let options = LoadOptions { file, environment: BTreeMap::new(), flags: Vec::new(), host };
        config::load(&options).unwrap_or_else(|complaints| panic!("{complaints}")).config
    }

    /// Starts the delegate, and a runner with so many slots whose tasks take so long.
    pub async fn start(self, slots: u32, work: Duration) -> Lab {
        let config = self.load();
        let adapters = upstreams::from_config(&config).unwrap();
        let daemon = daemon::start(&config, adapters, Box::new(|_, _| ())).await.unwrap();
        let handler = Handler::new(TYPE, move |_: Context, payload: Payload| async move {
            tokio::time::sleep(work).await;
            Ok(payload)
        });
        let runner = Runner::new("runner-1").handler(handler).slots("default", slots);
        let connection = runner.connect(format!("unix:{}", self.path("r.sock").display()));
        let runner = tokio::spawn(async move { drop(connection.run(std::future::pending()).await) });
        Lab { desk: self, daemon, runner }
    }
}

// === impl Lab ===

impl Lab {
    pub async fn stop(self) {
        self.daemon.stop().await.unwrap();
        self.runner.abort();
    }
}
