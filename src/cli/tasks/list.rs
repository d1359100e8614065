//! `dlite tasks list`: every open task, with the one thing it waits for.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{age, ago, render, span},
    },
    proto::admin::v1::{ListTasksRequest, ListTasksResponse, TaskView},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those in these states: listed, acquiring, waiting, assigned, running, reporting, dead; "queued" is all before running
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATE,…")]
    state: Vec<State>,
    /// In which order: the one with the longest wait first, or the oldest, or the youngest [default: as the delegate took them]
    #[arg(long, value_enum, allow_hyphen_values = true)]
    sort: Option<Sort>,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// As [`TaskView::state`] has it, and those in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Listed,
    Acquiring,
    Waiting,
    Assigned,
    Running,
    Reporting,
    Dead,
    Queued,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// The oldest first
    Age,
    /// The youngest first
    #[value(name = "-age")]
    Youth,
    /// The longest wait first
    Wait,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let mut tasks = client.list_tasks(ListTasksRequest {}).await?.into_inner();
        if !args.state.is_empty() {
            tasks.tasks.retain(|task| args.state.iter().any(|state| state.covers(&task.state)));
        }
        match args.sort {
            None => {}
            Some(Sort::Age) => tasks.tasks.sort_by_key(|task| std::cmp::Reverse(age_of(task))),
            Some(Sort::Youth) => tasks.tasks.sort_by_key(age_of),
            Some(Sort::Wait) => tasks.tasks.sort_by_key(|task| std::cmp::Reverse(task.waiting_since.map(age))),
        }
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

/// Since it was taken; of one that was not, since it waits.
fn age_of(task: &TaskView) -> Duration {
    let taken = task.age.and_then(|age| Duration::try_from(age).ok());
    taken.or(task.waiting_since.map(age)).unwrap_or_default()
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
        "age_seconds": task.age.as_ref().map(|age| age.seconds),
        "wait": task.wait.as_ref().map(|wait| serde_json::json!({
            "name": wait.name,
            "since_time": time(&wait.since_time),
            "deadline": time(&wait.deadline),
            "text": wait.text,
            "ends": wait.ends,
            "details": wait.details,
        })),
    })
}

// === impl State ===

impl State {
    fn covers(self, state: &str) -> bool {
        match self {
            Self::Queued => matches!(state, "listed" | "acquiring" | "waiting" | "assigned"),
            Self::Listed => state == "listed",
            Self::Acquiring => state == "acquiring",
            Self::Waiting => state == "waiting",
            Self::Assigned => state == "assigned",
            Self::Running => state == "running",
            Self::Reporting => state == "reporting",
            Self::Dead => state == "dead",
        }
    }
}
