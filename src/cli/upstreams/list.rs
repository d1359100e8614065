//! `dlite upstreams list`: what is configured, and how each upstream stands with the delegate that runs, if one does.

use std::{collections::BTreeMap, process::ExitCode};

use super::load;
use crate::{
    admin::client,
    cli::{
        block_on,
        config::{ConfigArgs, Output},
        status::aside,
        table::{ago, render},
    },
    config::{self, Config},
    proto::admin::v1::{GetDelegateRequest, Upstream},
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
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(async {
        let standing = standing(&config).await;
        print!("{}", if args.output == Output::Json { json(&config, &standing) } else { table(&config, &standing) });
        ExitCode::SUCCESS
    })
}

/// By name, as the delegate sees them; empty: none runs.
async fn standing(config: &Config) -> BTreeMap<String, Upstream> {
    let Ok(mut client) = client::connect(&config.admin.socket).await else { return BTreeMap::new() };
    match client.get_delegate(GetDelegateRequest {}).await {
        Ok(status) => status.into_inner().upstreams.into_iter().map(|up| (up.name.clone(), up)).collect(),
        Err(_) => BTreeMap::new(),
    }
}

fn client_cert(upstream: &config::Upstream) -> Option<String> {
    upstream.tls.client.as_ref().map(|client| client.cert.display().to_string())
}

fn json(config: &Config, standing: &BTreeMap<String, Upstream>) -> String {
    let all = config.upstreams.iter().map(|upstream| {
        let up = standing.get(&upstream.name);
        serde_json::json!({
            "name": upstream.name,
            "endpoint": upstream.endpoint,
            "account_id": upstream.account_id,
            "proxy": upstream.way().map(ToString::to_string),
            "client_cert": client_cert(upstream),
            "state": up.map(|up| &up.state),
            "registered_id": up.map(|up| &up.registered_id),
            "last_success_time": up.and_then(|up| up.last_success_time.as_ref().map(ToString::to_string)),
            "last_error": up.map(|up| &up.last_error),
            "pause": up.and_then(|up| up.pause.as_ref().map(aside)),
        })
    });
    format!("{:#}\n", serde_json::Value::Array(all.collect()))
}

fn table(config: &Config, standing: &BTreeMap<String, Upstream>) -> String {
    let dash = || "-".to_owned();
    let rows: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| {
            let up = standing.get(&upstream.name);
            vec![
                upstream.name.clone(),
                up.map_or_else(dash, |up| up.state.clone()),
                up.map_or_else(dash, |up| ago(up.last_success_time)),
                upstream.endpoint.clone(),
                upstream.account_id.clone(),
                upstream.way().map_or_else(dash, ToString::to_string),
                client_cert(upstream).unwrap_or_else(dash),
            ]
        })
        .collect();
    let heads = ["UPSTREAM", "STATE", "LAST SUCCESS", "ENDPOINT", "ACCOUNT", "PROXY", "CLIENT CERTIFICATE"];
    let mut text = render(&heads, &rows);
    if standing.is_empty() {
        text += "no delegate runs that could tell how they stand\n";
    }
    text
}
