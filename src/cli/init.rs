//! `dlite config init`: a first configuration from what the operator knows.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::ValueEnum;

use super::{config::EXIT_CHECK_FAILED, fail};
use crate::config::{self, DEFAULT_FILE, LoadOptions};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes a file (0600) with every option and what it means; those you give are set, the others stand there as comments with their defaults.
The secret stays in its own file. Nothing is overwritten without --force. What is still wrong with it is told afterwards.

Exit codes: 0 written, 1 not written, 2 usage, 4 written, and something in it is still wrong.

Example:
  dlite config init --upstream harness --url https://app.harness.io --account AbCdEf --token-file /etc/dlite/token
  dlite config init --upstream drone --url https://drone.example.com --token-file /etc/dlite/secret --output dlite.toml
  dlite upstreams check harness --config dlite.toml      # next: does it lead there?")]
pub struct Args {
    /// What kind of upstream it is
    #[arg(long, value_enum, default_value_t = Kind::Harness)]
    upstream: Kind,
    /// Base URL of the manager or server
    #[arg(long)]
    url: String,
    /// The account's id (Harness)
    #[arg(long, required_if_eq("upstream", "harness"))]
    account: Option<String>,
    /// File with the delegate token (Harness) or the RPC secret (Drone)
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Name of this delegate [default: the host's name]
    #[arg(long)]
    name: Option<String>,
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    output: PathBuf,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Harness,
    Drone,
}

pub fn run(args: &Args) -> ExitCode {
    let text = match content(args) {
        Ok(text) => text,
        Err(error) => return fail(&format!("--token-file {}: {error}", args.token_file.display())),
    };
    if let Err(error) = write(&args.output, &text, args.force) {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists { "; --force overwrites it" } else { "" };
        return fail(&format!("{}: {error}{hint}", args.output.display()));
    }
    let file = args.output.display();
    println!("written to {file}; next: dlite upstreams check NAME --config {file}, then dlite run --config {file}");
    // Nothing but the file: the environment of whoever writes it is not the service's.
    let options = LoadOptions { environment: [].into(), ..LoadOptions::of_process(Some(args.output.clone())) };
    match config::load(&options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(complaints) => {
            eprintln!("{complaints}");
            ExitCode::from(EXIT_CHECK_FAILED)
        }
    }
}

/// The example with some lines set. Paths are whole, since the file may be moved.
fn content(args: &Args) -> io::Result<String> {
    let token_file = std::path::absolute(&args.token_file)?.display().to_string();
    let mut set = vec![("endpoint", Some(args.url.clone()))];
    match args.upstream {
        Kind::Harness => set.extend([
            ("kind", Some("harness".to_owned())),
            ("account_id", args.account.clone()),
            ("account_secret_file", Some(token_file)),
        ]),
        Kind::Drone => set.extend([
            ("kind", Some("drone".to_owned())),
            ("name", Some("drone".to_owned())),
            ("secret_file", Some(token_file)),
            ("account_id", None),
            ("account_secret_file", None),
        ]),
    }
    let mut text = String::new();
    let mut section = "";
    let example = config::example();
    for line in example.lines() {
        if line.starts_with('[') {
            section = if line == "[[upstreams]]" { "upstreams" } else { "other" };
        }
        let key = line.trim_start_matches('#').split_once(" = ").map_or("", |(key, _)| key);
        let wanted = match section {
            "upstreams" => set.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()),
            "" if key == "name" => args.name.clone().map(Some),
            _ => None,
        };
        match wanted {
            Some(Some(value)) => text += &format!("{key} = {}\n", toml::Value::String(value)),
            // What the example needs, and this kind of upstream does not have.
            Some(None) => text += &format!("#{}\n", line.trim_start_matches('#')),
            None => text += &format!("{line}\n"),
        }
    }
    Ok(text)
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        // By a new file in its place, so that its mode is ours, and a reader sees the old one or the new one.
        let fresh = path.with_extension("toml.new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = options.create_new(true).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        return std::fs::rename(fresh, path);
    }
    let mut file = options.create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
