//! What the documents of a configuration say, as far as this host's pipelines are concerned.

use std::{collections::BTreeMap, fmt};

use crate::pipeline::condition::Conditions;

/// The name of a pipeline without one.
pub const DEFAULT_NAME: &str = "default";

/// No pipeline for a stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pipeline of type exec is named {stage:?}; {}", self.choice())]
pub struct NoSuchPipeline {
    pub stage: String,
    pub known: Vec<String>,
}

/// The documents of one configuration; those of other kinds and types are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Kind `pipeline`, type `exec`, in their order; their names are unique.
    pub pipelines: Vec<Pipeline>,
    /// Kind `secret`.
    pub secrets: Vec<SecretDocument>,
    /// Kind `signature`.
    pub signatures: Vec<Signature>,
}

/// Kind `pipeline`, type `exec`: one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pipeline {
    pub place: Place,
    /// The stage's name; `default` if the document has none.
    pub name: String,
    pub platform: Platform,
    pub workspace: Workspace,
    pub clone: Checkout,
    /// For each step; a step's own values go before.
    pub environment: BTreeMap<String, Value>,
    /// They run detached beside the steps, and start before them.
    pub services: Vec<Step>,
    pub steps: Vec<Step>,
    /// Labels that the host must have; the server's routing has obeyed them.
    pub node: BTreeMap<String, String>,
    /// Stages that come before; the server has waited for them.
    pub depends_on: Vec<String>,
    /// Stages of this name that may run at once; the server counts them.
    pub concurrency_limit: Option<u32>,
    /// Evaluated by the server.
    pub trigger: Conditions,
}

/// Where something stands in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1, empty documents counted.
    pub document: u32,
    /// From 1, in the whole text.
    pub line: u32,
}

/// The host that a pipeline is written for; empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub arch: String,
    pub variant: String,
    /// The kernel's, as a stage calls it.
    pub version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Where in the stage's room the sources go; relative, without `..`; absent: the room's own choice.
    pub path: Option<String>,
}

/// How the sources come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkout {
    /// No step `clone`.
    pub disable: bool,
    /// Commits to fetch; absent: all.
    pub depth: Option<u32>,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// No verification of the server's certificate.
    pub skip_verify: bool,
    /// Git tells each of its commands and transfers.
    pub trace: bool,
}

/// One of `steps` or `services`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub place: Place,
    /// Unique among steps and services; 1 to 100 characters, none of them a control character.
    pub name: String,
    /// The shell's path or name; absent: the host's choice.
    pub shell: Option<String>,
    /// Lines of one script, in order.
    pub commands: Vec<String>,
    pub environment: BTreeMap<String, Value>,
    /// Steps that come before; one step that has any makes all of them a graph.
    pub depends_on: Vec<String>,
    pub when: Conditions,
    pub failure: Failure,
    /// Runs beside the steps after it, and ends with the stage at the latest.
    pub detach: bool,
}

/// What a step's failure does to its stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// Fails it; steps that are for failures still run.
    #[default]
    Fail,
    /// Nothing.
    Ignore,
    /// Fails it and stops the other steps.
    Fast,
}

/// The value of a variable.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// The secret of this name.
    FromSecret(String),
}

/// Kind `secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDocument {
    pub place: Place,
    /// What `from_secret` names.
    pub name: String,
    pub source: SecretSource,
}

/// Where a secret's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In the document, sealed with the repository's key: base64 of nonce and ciphertext.
    Sealed(String),
    /// With the secret plugin.
    Plugin { path: String, name: String },
}

/// Kind `signature`: the server has checked it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    pub place: Place,
    pub hmac: String,
}

// === impl Manifest ===

impl Manifest {
    /// The pipeline of a stage; an empty name is `default`.
    ///
    /// # Errors
    /// [`NoSuchPipeline`], with the names there are.
    pub fn select(&self, stage: &str) -> Result<&Pipeline, NoSuchPipeline> {
        let name = if stage.is_empty() { DEFAULT_NAME } else { stage };
        self.pipelines.iter().find(|pipeline| pipeline.name == name).ok_or_else(|| NoSuchPipeline {
            stage: name.to_owned(),
            known: self.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect(),
        })
    }

    /// The document of a secret. Names of secrets know no case.
    pub fn secret(&self, name: &str) -> Option<&SecretDocument> {
        self.secrets.iter().find(|secret| secret.name.eq_ignore_ascii_case(name))
    }
}

// === impl NoSuchPipeline ===

impl NoSuchPipeline {
    fn choice(&self) -> String {
        /// Names that a message lists.
        const LISTED_MAX: usize = 8;
        if self.known.is_empty() {
            return "the configuration has none".to_owned();
        }
        let named: Vec<String> = self.known.iter().take(LISTED_MAX).map(|name| format!("{name:?}")).collect();
        let more = if self.known.len() > LISTED_MAX { ", …" } else { "" };
        format!("there is {}{more}", named.join(", "))
    }
}

// === impl Value ===

impl fmt::Debug for Value {
    /// Without the text: expansion may have put anything into it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::FromSecret(name) => write!(f, "FromSecret({name:?})"),
        }
    }
}
