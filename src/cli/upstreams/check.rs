//! `dlite upstreams check`: how far one gets with what is configured. It needs no running delegate.

use std::process::ExitCode;

use super::load;
use crate::{
    cli::{
        block_on, chain,
        config::{ConfigArgs, EXIT_CHECK_FAILED, Output},
        fail,
        table::render,
    },
    upstreams::check::{self, Report, Verdict},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the upstream
    #[arg(value_name = "NAME")]
    upstream: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Prints each stage with its verdict and time; code 4 if one failed.
pub fn run(args: &Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Some(upstream) = config.upstreams.iter().find(|upstream| upstream.name == args.upstream) else {
        let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        return fail(&format!("no upstream is named {:?}; the configuration has {}", args.upstream, names.join(", ")));
    };
    block_on(async {
        match check::check(upstream).await {
            Ok(report) => {
                print!("{}", if args.output == Output::Json { json(&report) } else { table(&report) });
                if report.failed().is_some() { ExitCode::from(EXIT_CHECK_FAILED) } else { ExitCode::SUCCESS }
            }
            Err(error) => {
                eprintln!("dlite: upstream {} can't be set up: {}", upstream.name, chain(&*error));
                ExitCode::from(EXIT_CHECK_FAILED)
            }
        }
    })
}

fn table(report: &Report) -> String {
    let rows: Vec<_> = report
        .steps
        .iter()
        .map(|step| {
            let ran = matches!(step.verdict, Verdict::Passed { .. } | Verdict::Failed(_));
            let took = if ran { format!("{} ms", step.took.as_millis()) } else { "-".to_owned() };
            let detail = match &step.verdict {
                Verdict::Passed { detail } => detail.clone(),
                Verdict::Skipped { reason } => reason.clone(),
                Verdict::Failed(trouble) => trouble.reason.clone(),
                Verdict::Unreached => String::new(),
            };
            vec![step.stage.to_string(), step.verdict.word().to_owned(), took, detail]
        })
        .collect();
    let way = report.proxy.as_ref().map(|proxy| format!(" through {proxy}")).unwrap_or_default();
    let mut text = format!("{}: {}{way}\n\n", report.upstream, report.endpoint);
    text += &render(&["STAGE", "VERDICT", "TIME", "FOUND"], &rows);
    text += &match report.failed().map(|step| (step.stage, &step.verdict)) {
        Some((stage, Verdict::Failed(trouble))) => {
            format!("\n{stage} failed: {}\nfix: {}\n", trouble.reason, trouble.fix)
        }
        _ => "\nthe way is clear\n".to_owned(),
    };
    text
}

fn json(report: &Report) -> String {
    let stages = report.steps.iter().map(|step| {
        let (detail, fix) = match &step.verdict {
            Verdict::Passed { detail } => (detail.as_str(), None),
            Verdict::Skipped { reason } => (reason.as_str(), None),
            Verdict::Failed(trouble) => (trouble.reason.as_str(), Some(trouble.fix.as_str())),
            Verdict::Unreached => ("", None),
        };
        serde_json::json!({
            "stage": step.stage.name(),
            "verdict": step.verdict.word(),
            "milliseconds": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            "detail": detail,
            "fix": fix,
        })
    });
    let document = serde_json::json!({
        "upstream": report.upstream,
        "endpoint": report.endpoint,
        "proxy": report.proxy,
        "ok": report.failed().is_none(),
        "failed": report.failed().map(|step| step.stage.name()),
        "stages": stages.collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
