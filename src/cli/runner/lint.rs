//! `dlite runner pipeline lint`: what of a configuration would run.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    cli::{config::EXIT_CHECK_FAILED, fail},
    pipeline::{
        condition::Build,
        lint::{self, Options},
        yaml::TEXT_BYTES_MAX,
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, such as .drone.yml
    file: PathBuf,
    /// The one stage to tell of, instead of all
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// The build's event
    #[arg(long, default_value = "push", value_name = "EVENT")]
    event: String,
    /// The build's branch; of a pull request, the one it wants into
    #[arg(long, default_value = "main", value_name = "BRANCH")]
    branch: String,
    /// The build's git ref, such as refs/tags/v1; without it, the branch's
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// What the event did, such as opened
    #[arg(long, default_value = "", value_name = "ACTION")]
    action: String,
    /// The repository, as NAMESPACE/NAME
    #[arg(long, default_value = "", value_name = "REPO")]
    repo: String,
    /// What is deployed to
    #[arg(long, default_value = "", value_name = "TARGET")]
    target: String,
    /// The name of the cron job
    #[arg(long, default_value = "", value_name = "NAME")]
    cron: String,
    /// The server's host
    #[arg(long, default_value = "", value_name = "HOST")]
    instance: String,
    /// A variable for ${…}; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
}

pub fn run(args: Args) -> ExitCode {
    let file = args.file.display().to_string();
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{file}: {error}")),
    };
    match lint::lint(&text, &args.options()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            for line in refusal.to_string().lines() {
                eprintln!("{file}: {line}");
            }
            ExitCode::from(EXIT_CHECK_FAILED)
        }
    }
}

/// The file, or so much of it that it is seen to be too large.
fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > TEXT_BYTES_MAX;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // Cut within a character, perhaps; its length alone will be looked at.
        Err(broken) if is_cut => Ok(String::from_utf8_lossy(broken.as_bytes()).into_owned()),
        Err(broken) => Err(io::Error::new(io::ErrorKind::InvalidData, broken)),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

// === impl Args ===

impl Args {
    fn options(self) -> Options {
        let build = Build {
            reference: self.reference.unwrap_or_else(|| format!("refs/heads/{}", self.branch)),
            action: self.action,
            branch: self.branch,
            cron: self.cron,
            event: self.event,
            instance: self.instance,
            repo: self.repo,
            target: self.target,
        };
        // What a build's variables say of the same; those of the command line go before.
        let told = [
            ("DRONE_BRANCH", &build.branch),
            ("DRONE_BUILD_ACTION", &build.action),
            ("DRONE_BUILD_EVENT", &build.event),
            ("DRONE_COMMIT_BRANCH", &build.branch),
            ("DRONE_COMMIT_REF", &build.reference),
            ("DRONE_DEPLOY_TO", &build.target),
            ("DRONE_REPO", &build.repo),
            ("DRONE_TARGET_BRANCH", &build.branch),
        ];
        let told = told.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let variables: BTreeMap<String, String> = told.chain(self.variables).collect();
        Options { stage: self.stage, build, variables }
    }
}
