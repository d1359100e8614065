//! `dlite doctor`: what is wrong with this host, and what to do about each thing.

use std::process::ExitCode;

use super::{
    block_on,
    config::{ConfigArgs, EXIT_CHECK_FAILED, Output},
    style::{Style, Tone},
    table::render,
};
use crate::doctor::{self, Findings, Verdict};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It works with and without a running delegate, repairs nothing and changes nothing at an upstream: it registers nobody and acquires
nothing. What it looks at: configuration, state directory (rights, lock, room, time of a durable write), sockets and ports, the running
delegate and its runners, the way to each upstream, clocks, certificates, open files, control group, pressure.

Exit codes: 0 nothing failed (warnings may be there), 2 usage, 4 a check failed.

Example:
  dlite doctor --config /etc/dlite/dlite.toml
  dlite doctor -o json | jq '.findings[] | select(.verdict == \"failed\")'")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    let options = args.config.load_options();
    block_on(async {
        let findings = doctor::examine(&options).await;
        match args.output {
            Output::Json => println!("{:#}", json(&findings)),
            Output::Table => print!("{}", table(&findings, Style::of_stdout())),
        }
        if findings.failed() > 0 { ExitCode::from(EXIT_CHECK_FAILED) } else { ExitCode::SUCCESS }
    })
}

/// Everything in one line each, then what is wrong in whole sentences.
pub fn table(findings: &Findings, style: Style) -> String {
    let rows = findings.iter().map(|finding| {
        let word = finding.verdict.word().to_owned();
        vec![word, finding.check.to_string(), finding.place.clone(), finding.verdict.found().to_owned()]
    });
    let rows: Vec<_> = rows.collect();
    let mut text = render(&["VERDICT", "CHECK", "WHERE", "FOUND"], &rows);
    for finding in findings.iter() {
        let Some(trouble) = finding.verdict.trouble() else { continue };
        let tone = if matches!(finding.verdict, Verdict::Failed(_)) { Tone::Bad } else { Tone::Warning };
        let word = style.paint(tone, finding.verdict.word());
        text += &format!(
            "\n{word}: {} at {}\n  what: {}\n  why:  {}\n  next: {}\n",
            finding.check, finding.place, trouble.what, trouble.why, trouble.next
        );
    }
    text += &match (findings.failed(), findings.warned()) {
        (0, 0) => format!("\n{}\n", style.paint(Tone::Good, "nothing is wrong")),
        (failed, warned) => format!("\n{failed} failed, {warned} to look at\n"),
    };
    text
}

/// For scripts: words of checks and verdicts are stable.
pub fn json(findings: &Findings) -> serde_json::Value {
    let list = findings.iter().map(|finding| {
        let trouble = finding.verdict.trouble();
        serde_json::json!({
            "check": finding.check.word(),
            "where": finding.place,
            "verdict": finding.verdict.word(),
            "what": finding.verdict.found(),
            "why": trouble.map(|trouble| &trouble.why),
            "next": trouble.map(|trouble| &trouble.next),
        })
    });
    serde_json::json!({
        "ok": findings.failed() == 0,
        "failed": findings.failed(),
        "warnings": findings.warned(),
        "findings": list.collect::<Vec<_>>(),
    })
}
