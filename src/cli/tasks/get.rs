//! `dlite tasks get`: one open task, whole.

use std::{fmt::Write as _, process::ExitCode};

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, render},
    },
    proto::admin::v1::{GetTaskRequest, GetTaskResponse, LogView, TaskEvent},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    task: String,
    /// Tell what happened to it, in order: tries, leases, waits
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let task = client.get_task(GetTaskRequest { task_id: args.task.clone() }).await?.into_inner();
        Ok(if args.output == Output::Json { format!("{:#}\n", json(&task)) } else { text(&task, args.events) })
    })
}

fn text(detail: &GetTaskResponse, with_events: bool) -> String {
    let task = detail.task.clone().unwrap_or_default();
    let mut text = format!("{} ({} of {})\n", task.task_id, task.external_id, task.upstream);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {name:<12} {value}");
        }
    };
    line("type", &format!("{} ({})", task.task_type, detail.kind));
    line("tenant", &detail.tenant);
    line("session", &detail.session_id);
    line("state", &task.state);
    line("waits for", &format!("{}, since {}", task.waiting_for, ago(task.waiting_since)));
    line("until", &task.wait.as_ref().map(|wait| wait.ends.clone()).unwrap_or_default());
    line("runner", &task.runner_id);
    line("try", &task.attempt.to_string());
    line("deadline", &task.deadline.map(|at| at.to_string()).unwrap_or_default());
    if let Some(stop) = &detail.stop {
        line("to stop", &format!("{} ({}), {}", stop.message, stop.reason, ago(stop.time)));
    }
    line("outcome", &detail.outcome);
    line("error", &detail.error);
    if detail.report_try_count > 0 {
        line("reported", &format!("{} tries; last: {}", detail.report_try_count, detail.report_error));
    }
    line("outputs", &detail.outputs.join(" "));
    for log in &detail.logs {
        let step = if log.step_id.is_empty() { String::new() } else { format!("step {}, ", log.step_id) };
        let state = log_state(log);
        let (lines, bytes) = (log.line_count, log.byte_count);
        line("log", &format!("{}: {step}{lines} lines, {bytes} bytes, {state}", log.log_id));
        if log.truncated {
            line("", "[the runner left lines out]");
        }
        for missing in &log.missing {
            line("", missing);
        }
        if log.closed {
            line("", &format!("sha256 {}", log.sha256));
        }
    }
    line("trace", &task.trace_id);
    for (key, value) in &detail.labels {
        line("label", &format!("{key}={value}"));
    }
    for moment in &detail.moments {
        let time = moment.time.as_ref().map(ToString::to_string).unwrap_or_default();
        line(&moment.phase, &format!("{time} ({})", ago(moment.time)));
    }
    if with_events {
        text += "\n";
        text += &events(&detail.events);
    }
    text
}

/// How far a log is, in words.
pub(crate) fn log_state(log: &LogView) -> &'static str {
    match (log.closed, log.here) {
        (false, _) => "open",
        (true, true) => "closed",
        (true, false) => "closed, not on this machine any more",
    }
}

fn events(events: &[TaskEvent]) -> String {
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            vec![
                event.time.as_ref().map(ToString::to_string).unwrap_or_default(),
                ago(event.time),
                event.what.clone(),
                if event.attempt == 0 { "-".to_owned() } else { event.attempt.to_string() },
                dash(&event.lease_id),
                dash(&event.runner_id),
                event.text.clone(),
            ]
        })
        .collect();
    render(&["TIME", "AGO", "EVENT", "TRY", "LEASE", "RUNNER", ""], &rows)
}

fn json(detail: &GetTaskResponse) -> serde_json::Value {
    let mut value = detail.task.as_ref().map(super::list::json).unwrap_or_default();
    let more = serde_json::json!({
        "tenant": detail.tenant,
        "kind": detail.kind,
        "session_id": detail.session_id,
        "moments": detail.moments.iter().map(|moment| serde_json::json!({
            "phase": moment.phase,
            "time": moment.time.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "events": detail.events.iter().map(|event| serde_json::json!({
            "time": event.time.as_ref().map(ToString::to_string),
            "what": event.what,
            "attempt": event.attempt,
            "lease_id": event.lease_id,
            "runner_id": event.runner_id,
            "text": event.text,
        })).collect::<Vec<_>>(),
        "labels": detail.labels,
        "outputs": detail.outputs,
        "stop": detail.stop.as_ref().map(|stop| serde_json::json!({
            "reason": stop.reason,
            "message": stop.message,
            "time": stop.time.as_ref().map(ToString::to_string),
        })),
        "outcome": detail.outcome,
        "error": detail.error,
        "report_try_count": detail.report_try_count,
        "report_error": detail.report_error,
        "logs": detail.logs.iter().map(|log| serde_json::json!({
            "log_id": log.log_id,
            "step_id": log.step_id,
            "next_line": log.next_line,
            "closed": log.closed,
            "missing": log.missing,
            "line_count": log.line_count,
            "byte_count": log.byte_count,
            "missing_line_count": log.missing_line_count,
            "sha256": log.sha256,
            "truncated": log.truncated,
            "lease_id": log.lease_id,
            "here": log.here,
        })).collect::<Vec<_>>(),
    });
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}
