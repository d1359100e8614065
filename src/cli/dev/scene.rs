//! A stage to act on: a manager's double, a configuration file for it and a directory for the state, all gone at the end.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    config::{self, Config, LoadOptions},
    doubles::manager::{Manager, Options},
    upstreams::harness::token::AccountSecret,
};

/// Where the double of a `dlite dev --keep` listens, so that `dlite dev submit` finds it.
pub const KEPT_PORT: u16 = 7_431;
/// The double's account.
pub const ACCOUNT: &str = "acctDEV0000000000001";

pub struct Scene {
    pub manager: Manager,
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
        let directory = std::env::temp_dir().join(format!("dlite-dev-{}", &random_hex()?[..8]));
        let files = |what| {
            let at = directory.clone();
            move |source| Error::Files { what, at, source }
        };
        std::fs::create_dir(&directory).map_err(files("a directory"))?;
        set_mode(&directory, 0o700).map_err(files("a directory"))?;
        let secret_file = directory.join("account-secret");
        std::fs::write(&secret_file, &secret).map_err(files("the account's secret"))?;
        set_mode(&secret_file, 0o600).map_err(files("the account's secret"))?;
        let config_file = directory.join("dlite.toml");
        let text = format!(
            "name = \"dev\"\nstate_dir = \"state\"\n{more}\n\
             [runners]\nsocket = \"runner.sock\"\n\n[admin]\nsocket = \"admin.sock\"\n\n\
             [[upstreams]]\nname = \"double\"\nkind = \"harness\"\nendpoint = \"{}\"\naccount_id = \"{ACCOUNT}\"\n\
             account_secret_file = \"account-secret\"\npoll_interval = \"100ms\"\n",
            manager.endpoint()
        );
        std::fs::write(&config_file, text).map_err(files("a configuration"))?;
        let options =
            LoadOptions { environment: Default::default(), ..LoadOptions::of_process(Some(config_file.clone())) };
        let config = config::load(&options).map_err(Error::Config)?.config;
        Ok(Self { manager, config, config_file, directory })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
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
