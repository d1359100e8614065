//! `dlite tasks explain`: why a task is where it is, and what would end that.

use std::process::ExitCode;

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
    },
    proto::admin::v1::{ExplainTaskRequest, ExplainTaskResponse},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The upstream's id of the task, taken or not, or the delegate's, such as t-1f2e3d4c-7
    task: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let answer = client.explain_task(ExplainTaskRequest { task_id: args.task.clone() }).await?.into_inner();
        Ok(if args.output == Output::Json { format!("{:#}\n", json(&answer)) } else { text(&answer) })
    })
}

fn text(answer: &ExplainTaskResponse) -> String {
    answer.explanations.iter().map(|explanation| explanation.sentence.clone() + "\n").collect()
}

fn json(answer: &ExplainTaskResponse) -> serde_json::Value {
    let one = |explanation: &crate::proto::admin::v1::Explanation| {
        serde_json::json!({
            "sentence": explanation.sentence,
            "task": explanation.task.as_ref().map(super::list::json),
        })
    };
    serde_json::Value::Array(answer.explanations.iter().map(one).collect())
}
