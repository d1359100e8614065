//! `dlite runners`: who is attached, what each can do, and how to take one out for maintenance.

use std::process::ExitCode;

use super::{status, table::ago};
use crate::proto::admin::v1::{GetDelegateResponse, Runner};

mod drain;
mod get;
mod list;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the runners that are attached, and those that are away and left work behind or are drained
    List(list::Args),
    /// Show one runner, whole: handlers, slots by class, its tasks and sessions
    Get(get::Args),
    /// Take a runner out: it gets nothing new, its sessions end on it, other runners go on; holds over restarts
    Drain(drain::Args),
    /// Give a drained runner work again
    Resume(drain::ResumeArgs),
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => list::run(args),
        Command::Get(args) => get::run(args),
        Command::Drain(args) => drain::run(args),
        Command::Resume(args) => drain::resume(args),
    }
}

/// The runner of this id, or what to say if there is none.
fn find(status: GetDelegateResponse, id: &str) -> Result<Runner, tonic::Status> {
    let ids: Vec<String> = status.runners.iter().map(|runner| runner.runner_id.clone()).collect();
    status.runners.into_iter().find(|runner| runner.runner_id == id).ok_or_else(|| {
        let here =
            if ids.is_empty() { "no runner is attached".to_owned() } else { format!("there are {}", ids.join(", ")) };
        tonic::Status::not_found(format!("no runner {id} is attached or has work here; {here}"))
    })
}

/// The drain of a runner in a few words; empty: it is none.
fn drained(runner: &Runner) -> String {
    let Some(drain) = &runner.drain else { return String::new() };
    let ends = drain.end_time.as_ref().map(|at| format!(", grace until {at}")).unwrap_or_default();
    format!("drained {} ({}){ends}", ago(drain.since_time), drain.reason)
}

pub(super) fn json(runner: &Runner) -> serde_json::Value {
    serde_json::json!({
        "runner_id": runner.runner_id,
        "instance_id": runner.instance_id,
        "state": runner.state,
        "task_types": runner.task_types,
        "slots_used": runner.slots_used,
        "slots_total": runner.slots_total,
        "sdk": runner.sdk,
        "last_seen_time": runner.last_seen_time.as_ref().map(ToString::to_string),
        "peer": runner.peer,
        "drain": runner.drain.as_ref().map(status::aside),
        "handlers": runner.handlers.iter().map(|handler| serde_json::json!({
            "task_type": handler.task_type,
            "kind": handler.kind,
            "slot_class": handler.slot_class,
        })).collect::<Vec<_>>(),
        "classes": runner.classes.iter().map(|class| serde_json::json!({
            "slot_class": class.slot_class,
            "used": class.used,
            "total": class.total,
        })).collect::<Vec<_>>(),
        "task_ids": runner.task_ids,
        "session_ids": runner.session_ids,
    })
}
