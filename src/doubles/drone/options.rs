//! What kind of server to be, and what a build is to be.

use std::{collections::BTreeMap, time::Duration};

/// How long the real server holds a poll or a watch (wire reference, 9).
pub const HOLD: Duration = Duration::from_secs(30);
/// Stages that may be open at once.
pub const OPEN_STAGES_MAX: usize = 100_000;

/// What kind of server to be.
#[derive(Clone)]
pub struct Options {
    /// What `X-Drone-Token` must say; none: the server has no secret, and refuses all with 403.
    pub token: Option<String>,
    /// Port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// How long a poll or a watch is held.
    pub hold: Duration,
    /// Whether it knows cards, as the newer line does.
    pub cards: bool,
    /// Whether cancels go through Redis, which remembers them, and answers a watch that saw none with 500 (wire reference, 3.8).
    pub redis: bool,
    /// The first id of each table. Two servers that begin alike have the same ids.
    pub first_id: i64,
}

/// A repository to be.
#[derive(Clone, Debug)]
pub struct NewRepo {
    /// "owner/name".
    pub slug: String,
    /// Of a stage, in minutes.
    pub timeout: i64,
    /// Clear text; they are in every stage's details but those of pull requests.
    pub secrets: BTreeMap<String, String>,
    /// Where the sources are; none: at a host that is not there.
    pub git_http_url: Option<String>,
    pub private: bool,
    /// Most of its stages at once; 0: any number.
    pub throttle: i64,
}

/// A build to be.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// From [`Drone::add_repo`](super::Drone::add_repo); none: the one that is always there.
    pub repo: Option<i64>,
    pub event: String,
    /// What was committed: its hash, the ref that leads to it, and the branch that it is or is meant for.
    pub commit: String,
    pub git_ref: String,
    pub target: String,
    /// Slug of the fork that a pull request comes from.
    pub source_repo: String,
    /// Where a promotion leads.
    pub deploy_to: String,
    /// The whole configuration file.
    pub config: String,
    /// At least one.
    pub stages: Vec<NewStage>,
}

/// A stage to be.
#[derive(Clone, Debug)]
pub struct NewStage {
    pub name: String,
    pub stage_type: String,
    pub os: String,
    pub arch: String,
    pub variant: String,
    pub kernel: String,
    pub labels: BTreeMap<String, String>,
    /// Names of stages of the same build.
    pub depends_on: Vec<String>,
    pub on_success: bool,
    pub on_failure: bool,
    /// Most of this name and repository at once; 0: any number.
    pub limit: i64,
}

/// What a submission became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    pub build: i64,
    /// In the order given.
    pub stages: Vec<i64>,
}

/// A build that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("no repository has the id {id}")]
    NoRepo { id: i64 },
    #[error("a build needs a stage")]
    NoStages,
    #[error("stage {stage:?} depends on {missing:?}, which the build does not have")]
    NoDependency { stage: String, missing: String },
    #[error("{max} stages are open already, which is the most this double keeps")]
    TooMany { max: usize },
}

// === impl Options ===

impl Options {
    /// The server with this secret, everything else as most have it.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), port: 0, hold: HOLD, cards: true, redis: false, first_id: 1 }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("port", &self.port).field("hold", &self.hold).finish_non_exhaustive()
    }
}

// === impl NewRepo, NewBuild, NewStage ===

impl NewRepo {
    /// With the timeout that the server sets when it enables a repository, and no secrets.
    pub fn new(slug: impl Into<String>) -> Self {
        Self {
            slug: slug.into(),
            timeout: 60,
            secrets: BTreeMap::new(),
            git_http_url: None,
            private: true,
            throttle: 0,
        }
    }
}

impl NewBuild {
    /// A push with these stages and a configuration that names the first.
    pub fn new(stages: Vec<NewStage>) -> Self {
        let (name, stage_type) = stages.first().map_or(("default", "docker"), |stage| (&stage.name, &stage.stage_type));
        let config = format!(
            "kind: pipeline\ntype: {stage_type}\nname: {name}\n\nsteps:\n- name: check\n  commands:\n  - echo hello\n"
        );
        Self {
            repo: None,
            event: "push".to_owned(),
            commit: "2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e".to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            target: "main".to_owned(),
            source_repo: String::new(),
            deploy_to: String::new(),
            config,
            stages,
        }
    }
}

impl NewStage {
    /// For linux/amd64, without labels or dependencies.
    pub fn new(name: impl Into<String>, stage_type: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stage_type: stage_type.into(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            variant: String::new(),
            kernel: String::new(),
            labels: BTreeMap::new(),
            depends_on: Vec::new(),
            on_success: true,
            on_failure: false,
            limit: 0,
        }
    }
}
