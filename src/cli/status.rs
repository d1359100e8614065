//! `dlite status`: the delegate at a glance.

use std::process::ExitCode;

use tonic::transport::Channel;

use super::{
    UNREACHABLE, block_on, chain,
    config::{ConfigArgs, EXIT_CHECK_FAILED, Output},
    drain::progress,
    fail,
    style::{Style, Tone},
    table::{ago, bytes, render, span, until},
};
use crate::{
    admin::client,
    config,
    proto::admin::v1::{
        Admission, Aside, GetDelegateRequest, GetDelegateResponse, GetResourcesRequest, GetResourcesResponse,
        admin_service_client::AdminServiceClient,
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what the process costs, too: memory, CPU, open files, disk
    #[arg(long)]
    resources: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let status = client.get_delegate(GetDelegateRequest {}).await?.into_inner();
        let resources = match args.resources {
            true => Some(client.get_resources(GetResourcesRequest {}).await?.into_inner()),
            false => None,
        };
        Ok(show(status, resources.as_ref(), args.output, Style::of_stdout()))
    })
}

/// Asks the delegate of this configuration, and prints what comes of it.
pub fn ask(
    config: &ConfigArgs,
    question: impl AsyncFnOnce(AdminServiceClient<Channel>) -> Result<String, tonic::Status>,
) -> ExitCode {
    ask_for(config, async |client| {
        print!("{}", question(client).await?);
        Ok(ExitCode::SUCCESS)
    })
}

/// Asks the delegate of this configuration; what comes of it decides on the exit code.
pub fn ask_for(
    config: &ConfigArgs,
    question: impl AsyncFnOnce(AdminServiceClient<Channel>) -> Result<ExitCode, tonic::Status>,
) -> ExitCode {
    let socket = match config::admin_socket(&config.load_options()) {
        Ok(socket) => socket,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(EXIT_CHECK_FAILED);
        }
    };
    block_on(async {
        let client = match client::connect(&socket).await {
            Ok(client) => client,
            Err(error) => {
                eprintln!("dlite: {}", chain(&error));
                return ExitCode::from(UNREACHABLE);
            }
        };
        match question(client).await {
            Ok(code) => code,
            Err(status) => fail(status.message()),
        }
    })
}

fn show(status: GetDelegateResponse, resources: Option<&GetResourcesResponse>, output: Output, style: Style) -> String {
    if output == Output::Json {
        let mut document = json(&status);
        if let Some(resources) = resources {
            document["resources"] = resources_json(resources);
        }
        return format!("{document:#}\n");
    }
    let tone = match &*status.state {
        "serving" => Tone::Good,
        "store_failing" => Tone::Bad,
        _ => Tone::Warning,
    };
    let mut state = style.paint(tone, &status.state);
    if !status.state_reason.is_empty() {
        state += &format!(" ({})", status.state_reason);
    }
    let drain_line = progress(&status);
    let admission = status.admission.as_ref().map(admission).unwrap_or_default();
    let mut text = format!(
        "{} {}: {state}, since {}\n\
         {} open tasks, {} open sessions, {} unreported results, {} dead letters, {} of logs on their way\n{admission}\n",
        status.name,
        status.version,
        ago(status.start_time),
        status.open_task_count,
        status.open_session_count,
        status.unreported_result_count,
        status.dead_letter_count,
        bytes(status.log_spool_bytes),
    );
    if let Some(drain) = &status.drain {
        let grace_end = drain.grace_end_time.as_ref().map(ToString::to_string).unwrap_or_default();
        text.insert_str(
            text.len() - 1,
            &format!("{} ({}, began {}, grace until {grace_end})\n", drain_line, drain.mode, ago(drain.begin_time)),
        );
    }
    let upstreams: Vec<_> = status
        .upstreams
        .into_iter()
        .map(|up| {
            let note = match &up.pause {
                Some(pause) => format!("paused {} ({}) {}", ago(pause.since_time), pause.reason, up.last_error),
                None => up.last_error,
            };
            let end = up.certificate_end_time.map_or_else(|| "-".to_owned(), until);
            vec![up.name, up.kind, up.state, up.registered_id, ago(up.last_success_time), end, note]
        })
        .collect();
    let heads = ["UPSTREAM", "KIND", "STATE", "REGISTERED AS", "LAST SUCCESS", "CERTIFICATE ENDS", "NOTE"];
    text += &render(&heads, &upstreams);
    text.push('\n');
    let runners: Vec<_> = status
        .runners
        .into_iter()
        .map(|runner| {
            let slots = format!("{}/{}", runner.slots_used, runner.slots_total);
            vec![
                runner.runner_id,
                runner.state,
                slots,
                ago(runner.last_seen_time),
                runner.sdk,
                runner.task_types.join(" "),
            ]
        })
        .collect();
    if runners.is_empty() {
        text += "no runner is attached\n";
    } else {
        text += &render(&["RUNNER", "STATE", "SLOTS", "LAST SEEN", "SDK", "TASK TYPES"], &runners);
    }
    if let Some(resources) = resources {
        text += &format!("\n{}\n", resources_line(resources));
    }
    text
}

fn resources_line(resources: &GetResourcesResponse) -> String {
    let unknown = || "unknown".to_owned();
    let cpu = resources.cpu_time.and_then(|time| std::time::Duration::try_from(time).ok());
    let max = resources.open_files_max.map_or_else(|| "no limit".to_owned(), |max| max.to_string());
    format!(
        "memory {}, CPU {} since the start, {} open files of {max}, journal {}, logs {}",
        resources.resident_bytes.map_or_else(unknown, bytes),
        cpu.map_or_else(unknown, span),
        resources.open_files.map_or_else(unknown, |count| count.to_string()),
        bytes(resources.journal_bytes),
        bytes(resources.log_spool_bytes),
    )
}

pub(super) fn resources_json(resources: &GetResourcesResponse) -> serde_json::Value {
    let cpu = resources.cpu_time.and_then(|time| std::time::Duration::try_from(time).ok());
    serde_json::json!({
        "resident_bytes": resources.resident_bytes,
        "cpu_seconds": cpu.map(|time| time.as_secs_f64()),
        "open_files": resources.open_files,
        "open_files_max": resources.open_files_max,
        "journal_bytes": resources.journal_bytes,
        "log_spool_bytes": resources.log_spool_bytes,
    })
}

/// One line: what is held up and why, and the last reading.
fn admission(admission: &Admission) -> String {
    let usage: Vec<String> = admission.usage_percent.iter().map(|(of, percent)| format!("{of} {percent} %")).collect();
    let usage = if usage.is_empty() { "nothing of the host is known".to_owned() } else { usage.join(", ") };
    match (&*admission.beginnings_refused, &*admission.steps_refused) {
        ("", "") => format!("admission: open ({usage})\n"),
        (beginnings, "") => format!("{beginnings}: nothing is begun ({usage})\n"),
        (_, steps) => format!("{steps}: only cleanups are taken ({usage})\n"),
    }
}

pub(super) fn json(status: &GetDelegateResponse) -> serde_json::Value {
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(ToString::to_string);
    serde_json::json!({
        "name": status.name,
        "version": status.version,
        "delegate_id": status.delegate_id,
        "state": status.state,
        "state_reason": status.state_reason,
        "start_time": time(&status.start_time),
        "open_task_count": status.open_task_count,
        "open_session_count": status.open_session_count,
        "log_spool_bytes": status.log_spool_bytes,
        "unreported_result_count": status.unreported_result_count,
        "dead_letter_count": status.dead_letter_count,
        "drain": status.drain.as_ref().map(|drain| serde_json::json!({
            "mode": drain.mode,
            "reason": drain.reason,
            "begin_time": time(&drain.begin_time),
            "grace_end_time": time(&drain.grace_end_time),
            "end_time": time(&drain.end_time),
            "cancelled_task_count": drain.cancelled_task_count,
            "handed_back_task_count": drain.handed_back_task_count,
            "acquiring_count": drain.acquiring_count,
        })),
        "admission": status.admission.as_ref().map(|admission| serde_json::json!({
            "usage_percent": admission.usage_percent,
            "beginnings_refused": admission.beginnings_refused,
            "steps_refused": admission.steps_refused,
        })),
        "upstreams": status.upstreams.iter().map(|up| serde_json::json!({
            "name": up.name,
            "kind": up.kind,
            "state": up.state,
            "registered_id": up.registered_id,
            "last_success_time": time(&up.last_success_time),
            "certificate_end_time": time(&up.certificate_end_time),
            "last_error": up.last_error,
            "pause": up.pause.as_ref().map(aside),
        })).collect::<Vec<_>>(),
        "runners": status.runners.iter().map(super::runners::json).collect::<Vec<_>>(),
    })
}

/// What the operator has taken out.
pub(super) fn aside(aside: &Aside) -> serde_json::Value {
    serde_json::json!({
        "reason": aside.reason,
        "since_time": aside.since_time.as_ref().map(ToString::to_string),
        "end_time": aside.end_time.as_ref().map(ToString::to_string),
    })
}
