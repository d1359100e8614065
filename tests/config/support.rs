//! A directory with a file of configuration, and the inputs around it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use dlite::config::{Complaint, Complaints, Config, Host, LoadOptions, Loaded, Source, load};
use tempfile::TempDir;

/// An account secret, in no way a real one.
pub const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const OTHER_SECRET: &str = "ffffeeeeddddccccbbbbaaaa99998888";

/// What an upstream must have.
pub const UPSTREAM: &str = "[[upstreams]]\nendpoint = \"https://manager.example.test\"\naccount_id = \"acct\"\n\
                            account_secret = \"0f1e2d3c4b5a69788796a5b4c3d2e1f0\"\n";

pub struct Scene {
    directory: TempDir,
    pub options: LoadOptions,
}

impl Scene {
    /// A file with this text, root's host, an empty environment and no flags.
    pub fn new(text: &str) -> Self {
        let mut scene = Self::without_file();
        scene.options.file = Some(scene.file("dlite.toml", text));
        scene
    }

    pub fn without_file() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let host = Host { name: "build-host".into(), superuser: true, mtls: directory.path().join("mtls") };
        let options = LoadOptions { file: None, environment: BTreeMap::new(), flags: Vec::new(), host };
        Self { directory, options }
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.options.environment.insert(name.into(), value.into());
        self
    }

    pub fn flag(mut self, key: &str, value: &str) -> Self {
        self.options.flags.push((key.into(), value.into()));
        self
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A further file, mode 0600.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("written");
        self.mode(name, 0o600);
        path
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(mode)).expect("permissions set");
    }

    pub fn loaded(&self) -> Loaded {
        load(&self.options).unwrap_or_else(|complaints| panic!("{complaints}"))
    }

    pub fn config(&self) -> Config {
        self.loaded().config
    }

    pub fn refused(&self) -> Complaints {
        load(&self.options).expect_err("a configuration with mistakes")
    }

    /// The one mistake.
    pub fn complaint(&self) -> Complaint {
        let complaints: Vec<_> = self.refused().iter().cloned().collect();
        match <[Complaint; 1]>::try_from(complaints) {
            Ok([complaint]) => complaint,
            Err(complaints) => panic!("one complaint, not {complaints:#?}"),
        }
    }
}

/// `dlite.toml:12:3`, without the directory, which is another one in each run; other sources as they are told.
pub fn place(complaint: &Complaint) -> String {
    match &complaint.source {
        Source::Line { file, line, column } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!("{name}:{line}:{column}")
        }
        other => other.to_string(),
    }
}
