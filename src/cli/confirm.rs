//! The question before something that can't be undone.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use super::{FAILED, USAGE};

/// Flattened into the arguments of every command that ends somebody's work or throws something away.
#[derive(Debug, clap::Args)]
pub struct Confirm {
    /// Do it without asking; needed where nobody can answer
    #[arg(short, long)]
    yes: bool,
}

// === impl Confirm ===

impl Confirm {
    /// Asks on the terminal.
    ///
    /// # Errors
    /// The code to exit with: 1 if the answer is no, 2 if there is nobody to ask.
    pub fn ask(&self, question: &str) -> Result<(), ExitCode> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            eprintln!("dlite: {question} There is no terminal to ask at: say --yes");
            return Err(ExitCode::from(USAGE));
        }
        eprint!("{question} [y/N] ");
        // A terminal that can't be written to gives no answer either.
        let _ = io::stderr().flush();
        if said_yes(&mut io::stdin().lock()) {
            return Ok(());
        }
        eprintln!("dlite: nothing was done");
        Err(ExitCode::from(FAILED))
    }
}

fn said_yes(answer: &mut impl BufRead) -> bool {
    let mut line = String::new();
    answer.read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, is_yes) in
            [("y\n", true), ("yes", true), ("\n", false), ("", false), ("no\n", false), ("yep\n", false)]
        {
            assert_eq!(said_yes(&mut answer.as_bytes()), is_yes, "{answer:?}");
        }
    }
}
