//! `dlite completions` and `dlite man`: made from the command line itself.

use std::{io, path::PathBuf, process::ExitCode};

use clap_complete::Shell;

use super::{command, fail};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes the script to standard output. The packages install it; by hand:

Example:
  dlite completions bash > /etc/bash_completion.d/dlite
  dlite completions zsh > \"${fpath[1]}/_dlite\"
  dlite completions fish > ~/.config/fish/completions/dlite.fish

Exit codes: 0 ok, 1 failed, 2 usage.")]
pub struct Args {
    /// Which shell's
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes a page for each command: dlite.1, dlite-status.1, dlite-tasks-list.1 and so on. The directory is made if need be; pages that are
there are written anew.

Example:
  dlite man /usr/local/share/man/man1 && man dlite-tasks-list

Exit codes: 0 ok, 1 failed, 2 usage.")]
pub struct ManArgs {
    /// Where the pages go
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(args: &Args) -> ExitCode {
    // In memory first: a reader that hangs up is no reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "dlite", &mut script);
    match io::Write::write_all(&mut io::stdout().lock(), &script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the script can't be written: {error}")),
    }
}

pub fn man(args: &ManArgs) -> ExitCode {
    let written =
        std::fs::create_dir_all(&args.directory).and_then(|()| clap_mangen::generate_to(command(), &args.directory));
    match written {
        Ok(()) => {
            println!("pages are in {}", args.directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("{}: {error}", args.directory.display())),
    }
}
