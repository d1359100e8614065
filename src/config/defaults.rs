//! Defaults that depend on the host, the user or another option.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    options::Kind,
    settings::Values,
    value::{Raw, Refusal, Value, socket_fits},
};

/// What a default may depend on besides the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As `uname` gives it.
    pub name: String,
    /// Whether the process is root's, and the paths are the system's.
    pub superuser: bool,
    /// Where a client certificate and its key are looked for if none is configured.
    pub mtls: PathBuf,
}

/// Directory of the Go client's two fixed paths, `client.crt` and `client.key`.
const MTLS: &str = "/etc/mtls";

impl Host {
    /// The host of this process.
    pub fn of_process() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            superuser: rustix::process::geteuid().is_root(),
            mtls: MTLS.into(),
        }
    }
}

pub(super) struct Defaults<'a> {
    pub host: &'a Host,
    pub environment: &'a BTreeMap<String, String>,
}

/// Why there is no default.
pub(super) enum Missing {
    /// It follows from an option that has no value itself.
    Base,
    Refused(Refusal),
}

impl Defaults<'_> {
    /// The derived default of `key`; `global` holds the process' options that stand above it in the table.
    pub fn derive(&self, key: &str, global: &Values) -> Result<Value, Missing> {
        match key {
            "name" => self.name(),
            "state_dir" => self.state_dir().map(Value::Path),
            "admin.socket" => self.socket("admin.sock", global),
            "runners.socket" => self.socket("runner.sock", global),
            "runners.token_file" => {
                let state_dir: PathBuf = global.get("state_dir").ok_or(Missing::Base)?;
                Ok(Value::Path(state_dir.join("runner.token")))
            }
            "logs.dir" => {
                let state_dir: PathBuf = global.get("state_dir").ok_or(Missing::Base)?;
                Ok(Value::Path(state_dir.join("log-files")))
            }
            "upstreams[].delegate_name" => global.get("name").map(Value::Text).ok_or(Missing::Base),
            // The tests load a configuration without any option set, so a derived default that is not here cannot stay.
            other => unreachable!("{other} has no derived default"),
        }
    }

    fn name(&self) -> Result<Value, Missing> {
        Value::parse(Kind::Text, &Raw::Words(self.host.name.clone())).map_err(|refusal| {
            Missing::Refused(Refusal { reason: format!("the host's name: {}", refusal.reason), fix: "set name".into() })
        })
    }

    fn state_dir(&self) -> Result<PathBuf, Missing> {
        if let Some(directory) = self.directory("STATE_DIRECTORY") {
            return Ok(directory);
        }
        if self.host.superuser {
            return Ok("/var/lib/dlite".into());
        }
        if let Some(directory) = self.directory("XDG_STATE_HOME") {
            return Ok(directory.join("dlite"));
        }
        let home = self.directory("HOME").ok_or_else(|| {
            Missing::Refused(Refusal {
                reason: "no default, since HOME is not set".into(),
                fix: "set state_dir".into(),
            })
        })?;
        Ok(home.join(".local/state/dlite"))
    }

    fn socket(&self, name: &str, global: &Values) -> Result<Value, Missing> {
        let directory = if let Some(directory) = self.directory("RUNTIME_DIRECTORY") {
            directory
        } else if self.host.superuser {
            "/run/dlite".into()
        } else if let Some(directory) = self.directory("XDG_RUNTIME_DIR") {
            directory.join("dlite")
        } else {
            global.get("state_dir").ok_or(Missing::Base)?
        };
        let path = directory.join(name);
        socket_fits(&path).map_err(Missing::Refused)?;
        Ok(Value::Path(path))
    }

    /// A directory named by the environment. systemd separates several by colons; the first is ours. Relative ones are ignored, as
    /// the rules for the XDG names ask for.
    fn directory(&self, name: &str) -> Option<PathBuf> {
        let value = self.environment.get(name)?;
        let first = value.split(':').next().filter(|path| path.starts_with('/'))?;
        Some(PathBuf::from(first))
    }
}
