//! `dlite dev submit`: one task by hand to a manager's double, and its result.

use std::{process::ExitCode, time::Duration};

use super::scene::KEPT_PORT;
use crate::cli::{FAILED, block_on, chain, fail};

/// A single wait at the double; asked again until the whole time is over.
const WAIT_MS: u64 = 30_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The double's address [default: where `dlite dev --keep` listens]
    #[arg(long, value_name = "URL")]
    manager: Option<String>,
    /// Task type; chooses the handler
    #[arg(long = "type", value_name = "TYPE")]
    task_type: String,
    /// The task's data: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    data: String,
    /// Print the id and do not wait for the result
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the result, in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

pub fn run(args: &Args) -> ExitCode {
    let data = match args.data.strip_prefix('@') {
        None => Ok(args.data.clone()),
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("--data {file} can't be read: {error}")),
    };
    let data = match data {
        Ok(data) => data,
        Err(error) => return fail(&error),
    };
    block_on(async {
        match submit(args, data).await {
            Ok(code) => code,
            Err(error) => fail(&error),
        }
    })
}

async fn submit(args: &Args, data: String) -> Result<ExitCode, String> {
    let kept = format!("http://127.0.0.1:{KEPT_PORT}");
    let manager = args.manager.as_ref().unwrap_or(&kept).trim_end_matches('/');
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| chain(&error))?;
    let mut url = reqwest::Url::parse(&format!("{manager}/dev/tasks"))
        .map_err(|error| format!("--manager {manager} is no URL: {error}"))?;
    url.query_pairs_mut().append_pair("type", &args.task_type);
    let (status, body) = call(client.post(url).body(data)).await?;
    let Some(id) = body.get("id").and_then(|id| id.as_str()) else {
        return Err(format!("the double refused the task ({status}): {body}"));
    };
    println!("submitted {id}");
    if args.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.timeout);
    while tokio::time::Instant::now() < deadline {
        let left = deadline - tokio::time::Instant::now();
        let wait = u64::try_from(left.as_millis()).unwrap_or(WAIT_MS).min(WAIT_MS);
        let (_, task) = call(client.get(format!("{manager}/dev/tasks/{id}?wait_ms={wait}"))).await?;
        if let Some(result) = task.get("result").filter(|result| !result.is_null()) {
            println!("{result:#}");
            let ok = result.get("code").and_then(|code| code.as_str()) == Some("OK");
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
        }
    }
    Err(format!("no result within {} s; the task goes on, see `dlite tasks list`", args.timeout))
}

async fn call(request: reqwest::RequestBuilder) -> Result<(reqwest::StatusCode, serde_json::Value), String> {
    let answer = request.send().await.map_err(|error| format!("the double does not answer: {}", chain(&error)))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| chain(&error))?;
    let body = serde_json::from_str(&text).map_err(|_| format!("the double answered {status} without JSON: {text}"))?;
    Ok((status, body))
}
