//! `dlite support bundle`: one file for whoever helps, and no secret in it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{block_on, config::ConfigArgs, duration, fail};

mod archive;
mod collect;
mod redact;

/// How far back the log goes.
const SINCE: &str = "2h";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write what whoever helps you needs into one file: configuration, state, logs, metrics, doctor; no secret
    Bundle(BundleArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The list of files is printed before anything is written. In the bundle: the configuration with secrets masked, versions, what the doctor
finds, and of a running delegate its status, resources, tasks, sessions, unreported results without payloads, deeds, metrics and the last
lines of its log. Payloads, tokens, keys and outputs of tasks are not in it. The file has mode 0600; what was there is not overwritten.
Without a running delegate the rest is collected all the same.

Exit codes: 0 written, 1 failed, 2 usage.

Example:
  dlite support bundle --since 2h --output dlite-support.tar.gz")]
pub struct BundleArgs {
    /// How far back the log goes; the delegate keeps its last 5,000 lines
    #[arg(long, value_parser = duration, default_value = SINCE)]
    since: Duration,
    /// Where to write it [default: dlite-support-SECONDS.tar.gz here]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(command: &Command) -> ExitCode {
    let Command::Bundle(args) = command;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("dlite-support-{}", since_epoch.as_secs());
    let path = args.output.clone().unwrap_or_else(|| Path::new(&name).with_extension("tar.gz"));
    let options = args.config.load_options();
    let files = block_on_value(async { collect::collect(&options, args.since).await });
    let Some(files) = files else { return fail("the system gives no threads") };
    for file in &files {
        println!("{:>9}  {}/{}", file.content.len(), name, file.name);
    }
    match archive::write(&path, &name, &files, since_epoch.as_secs()) {
        Ok(()) => {
            println!("written to {}: {} files; read it before you send it", path.display(), files.len());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("{}: {error}", path.display())),
    }
}

fn block_on_value<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut value = None;
    block_on(async {
        value = Some(work.await);
        ExitCode::SUCCESS
    });
    value
}
