//! A stage to act on: a manager's and a log service's double, a configuration file for it and a directory for the state, all gone at the end.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    config::{self, Config, LoadOptions},
    doubles::{
        log_service::LogService,
        manager::{Manager, Options},
    },
    upstreams::harness::token::AccountSecret,
};

/// Where the double of a `dlite dev --keep` listens, so that `dlite dev submit` finds it.
pub const KEPT_PORT: u16 = 7_431;
/// The double's account.
pub const ACCOUNT: &str = "acctDEV0000000000001";

/// Task types of a stage, as the Harness manager names them; scripts do them.
pub const SETUP: &str = "DLITE_CI_VM_INITIALIZE_TASK";
pub const EXECUTE: &str = "DLITE_CI_VM_EXECUTE_TASK_V2";
pub const CLEANUP: &str = "DLITE_CI_VM_CLEANUP_TASK_V2";

/// A stage in a few lines of shell: its first argument says what to do, the payload comes on standard input.
const STAGE: &str = r#"set -eu
payload=$(cat)
echo "$1 of $DLITE_TASK_ID" >&2
case $1 in setup) sleep 0.15 ;; execute) sleep 0.2 ;; cleanup) sleep 0.05 ;; esac
case $payload in
*'"fail"'*)
    printf '{"command_execution_status":"FAILURE","error_message":"2 of 80 tests failed"}' > "$DLITE_RESULT_FILE"
    exit 1 ;;
esac
printf '{"command_execution_status":"SUCCESS"}'
"#;

pub struct Scene {
    pub manager: Manager,
    /// Where its tasks log to.
    pub logs: LogService,
    place: Place,
}

/// A directory for the state, and a configuration in it; gone with this value.
pub struct Place {
    pub config: Config,
    pub config_file: PathBuf,
    directory: PathBuf,
}

/// The scene can't be set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} can't be made below {}", .at.display())]
    Files { what: &'static str, at: PathBuf, source: io::Error },
    #[error("the manager's double can't listen on 127.0.0.1:{port}; another one may be running there (--port)")]
    Manager { port: u16, source: io::Error },
    #[error("the log service's double can't listen on loopback")]
    Logs(#[source] io::Error),
    #[error("the server's double can't listen on 127.0.0.1:{port}; another one may be running there (--port)")]
    Server { port: u16, source: io::Error },
    #[error("the configuration made for it is refused:\n{0}")]
    Config(config::Complaints),
    #[error("no random bytes can be had from the system")]
    Random,
}

// === impl Scene ===

impl Scene {
    /// Starts a manager on `port` (0: any) and writes the configuration of a delegate for it; `more` are further lines of it.
    pub async fn set(port: u16, more: &str) -> Result<Self, Error> {
        let secret = random_hex()?;
        let parsed = secret.parse::<AccountSecret>().map_err(|_| Error::Random)?;
        let options = Options { port, ..Options::new(ACCOUNT, parsed) };
        let manager = Manager::start(options).await.map_err(|source| Error::Manager { port, source })?;
        let logs = LogService::start(random_hex()?).await.map_err(Error::Logs)?;
        let upstream = format!(
            "name = \"double\"\nkind = \"harness\"\nendpoint = \"{}\"\naccount_id = \"{ACCOUNT}\"\n\
             account_secret_file = \"account-secret\"\npoll_interval = \"100ms\"\n",
            manager.endpoint()
        );
        Ok(Self { manager, logs, place: Place::make(more, &upstream, &[("account-secret", &secret)])? })
    }
}

impl std::ops::Deref for Scene {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

// === impl Place ===

impl Place {
    /// Writes a configuration with these further lines and this upstream, and the secret files beside it.
    pub fn make(more: &str, upstream: &str, secrets: &[(&str, &str)]) -> Result<Self, Error> {
        let directory = std::env::temp_dir().join(format!("dlite-dev-{}", &random_hex()?[..8]));
        let files = |what| {
            let at = directory.clone();
            move |source| Error::Files { what, at, source }
        };
        std::fs::create_dir(&directory).map_err(files("a directory"))?;
        set_mode(&directory, 0o700).map_err(files("a directory"))?;
        for (name, secret) in secrets {
            let file = directory.join(name);
            std::fs::write(&file, secret).map_err(files("the upstream's secret"))?;
            set_mode(&file, 0o600).map_err(files("the upstream's secret"))?;
        }
        let config_file = directory.join("dlite.toml");
        let text = format!(
            "name = \"dev\"\nstate_dir = \"state\"\n{more}\n\
             [runners]\nsocket = \"runner.sock\"\n\n[admin]\nsocket = \"admin.sock\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
             # The show is not about the host.\n[admission]\ndisk_high = 100\n\n\
             [[upstreams]]\n{upstream}"
        );
        std::fs::write(&config_file, text).map_err(files("a configuration"))?;
        let options =
            LoadOptions { environment: Default::default(), ..LoadOptions::of_process(Some(config_file.clone())) };
        let config = config::load(&options).map_err(Error::Config)?.config;
        Ok(Self { config, config_file, directory })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts `dlite runner exec` as a process of its own: scripts for the stage's tasks.
pub fn start_scripts(scene: &Scene, socket: &Path) -> io::Result<tokio::process::Child> {
    let (script, routes) = (scene.directory.join("stage.sh"), scene.directory.join("exec.toml"));
    std::fs::write(&script, STAGE)?;
    let route = |task_type: &str, kind: &str| {
        format!(
            "[routes.{task_type}]\ncommand = [\"/bin/sh\", {:?}, \"{kind}\"]\nkind = \"{kind}\"\n",
            script.display().to_string()
        )
    };
    let text = format!(
        "runner_id = \"scripts-1\"\nconnect = {:?}\nstate_dir = {:?}\nslots = 4\n{}{}{}",
        format!("unix:{}", socket.display()),
        scene.directory.join("scripts").display().to_string(),
        route(SETUP, "setup"),
        route(EXECUTE, "execute"),
        route(CLEANUP, "cleanup"),
    );
    std::fs::write(&routes, text)?;
    tokio::process::Command::new(std::env::current_exe()?)
        .args(["runner", "exec", "--log-filter", "error", "--config"])
        .arg(routes)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// Starts `dlite dev runner` as a process of its own, attached to `socket`.
pub fn start_runner(socket: &Path, slots: u32) -> io::Result<tokio::process::Child> {
    tokio::process::Command::new(std::env::current_exe()?)
        .args(["dev", "runner", "--slots", &slots.to_string(), "--connect"])
        .arg(format!("unix:{}", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

fn random_hex() -> Result<String, Error> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
