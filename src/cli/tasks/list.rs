//! `dlite tasks list`: every open task, with the one thing it waits for.

use std::process::ExitCode;

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, render, span},
    },
    proto::admin::v1::{ListTasksRequest, ListTasksResponse, TaskView},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let tasks = client.list_tasks(ListTasksRequest {}).await?.into_inner();
        Ok(show(tasks, args.output))
    })
}

fn show(answer: ListTasksResponse, output: Output) -> String {
    if output == Output::Json {
        return format!("{:#}\n", serde_json::Value::Array(answer.tasks.iter().map(json).collect()));
    }
    if answer.tasks.is_empty() {
        return "no open task\n".to_owned();
    }
    let rows: Vec<_> = answer.tasks.into_iter().map(row).collect();
    let heads = ["TASK", "UPSTREAM", "EXTERNAL ID", "TYPE", "STATE", "TRY", "AGE", "SINCE", "RUNNER", "WAITS FOR"];
    let mut text = render(&heads, &rows);
    if answer.truncated {
        text += &format!("… and more; the first {} are shown\n", rows.len());
    }
    text
}

fn row(task: TaskView) -> Vec<String> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let age = task.age.and_then(|age| std::time::Duration::try_from(age).ok()).map(span).unwrap_or_default();
    vec![
        dash(task.task_id),
        task.upstream,
        task.external_id,
        dash(task.task_type),
        task.state,
        if task.attempt == 0 { "-".to_owned() } else { task.attempt.to_string() },
        dash(age),
        ago(task.waiting_since),
        dash(task.runner_id),
        task.waiting_for,
    ]
}

pub(in crate::cli) fn json(task: &TaskView) -> serde_json::Value {
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(ToString::to_string);
    serde_json::json!({
        "task_id": task.task_id,
        "upstream": task.upstream,
        "external_id": task.external_id,
        "task_type": task.task_type,
        "state": task.state,
        "waiting_for": task.waiting_for,
        "waiting_since": time(&task.waiting_since),
        "runner_id": task.runner_id,
        "attempt": task.attempt,
        "deadline": time(&task.deadline),
        "trace_id": task.trace_id,
    })
}
