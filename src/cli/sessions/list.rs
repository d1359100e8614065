//! `dlite sessions list`: every open session. Never its state.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        duration,
        status::ask,
        table::{age, ago, render},
    },
    proto::admin::v1::{ListSessionsRequest, ListSessionsResponse, SessionView},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those that began so long ago or longer, such as 6h
    #[arg(long, value_parser = duration, value_name = "SPAN")]
    older_than: Option<Duration>,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let mut sessions = client.list_sessions(ListSessionsRequest {}).await?.into_inner();
        if let Some(span) = args.older_than {
            sessions.sessions.retain(|session| session.create_time.is_some_and(|at| age(at) >= span));
        }
        Ok(show(sessions, args.output))
    })
}

fn show(answer: ListSessionsResponse, output: Output) -> String {
    if output == Output::Json {
        return format!("{:#}\n", serde_json::Value::Array(answer.sessions.iter().map(json).collect()));
    }
    if answer.sessions.is_empty() {
        return "no open session\n".to_owned();
    }
    let rows: Vec<_> = answer.sessions.into_iter().map(row).collect();
    let mut text = render(&["SESSION", "UPSTREAM", "EXTERNAL ID", "PHASE", "RUNNER", "SINCE", "TASKS", "STATE"], &rows);
    if answer.truncated {
        text += &format!("… and more; the first {} are shown\n", rows.len());
    }
    text
}

fn row(session: SessionView) -> Vec<String> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        session.session_id,
        session.upstream,
        session.external_id,
        session.phase,
        dash(session.runner_id),
        ago(session.create_time),
        dash(session.task_ids.join(" ")),
        format!("{} bytes", session.state_bytes),
    ]
}

pub(in crate::cli) fn json(session: &SessionView) -> serde_json::Value {
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(ToString::to_string);
    serde_json::json!({
        "session_id": session.session_id,
        "upstream": session.upstream,
        "tenant": session.tenant,
        "external_id": session.external_id,
        "phase": session.phase,
        "runner_id": session.runner_id,
        "create_time": time(&session.create_time),
        "expire_time": time(&session.expire_time),
        "task_ids": session.task_ids,
        "state_bytes": session.state_bytes,
    })
}
