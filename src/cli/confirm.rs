//! A question before what can't be undone.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use super::{FAILED, fail};

/// Asks on the terminal, unless `yes` was said already.
///
/// # Errors
/// The exit code, if the answer is not yes, or nobody is there to give one.
pub fn confirmed(question: &str, yes: bool) -> Result<(), ExitCode> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(fail(&format!("{question} There is no terminal to ask at: say --yes")));
    }
    eprint!("{question} [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    eprintln!("dlite: nothing was done");
    Err(ExitCode::from(FAILED))
}
