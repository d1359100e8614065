//! What goes into a bundle: each part for itself, so that one that can't be had costs no other.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tonic::{Status, transport::Channel};

use super::{archive::File, redact::Redactor};
use crate::{
    admin::client,
    cli::{
        audit, chain, config as config_command, doctor as doctor_command, reports, sessions, status, style::Style,
        tasks,
    },
    config::{self, LoadOptions},
    core::audit::AUDITS_MAX,
    doctor,
    proto::admin::v1::{
        CollectTelemetryRequest, GetDelegateRequest, GetResourcesRequest, ListAuditsRequest, ListReportsRequest,
        ListSessionsRequest, ListTasksRequest, admin_service_client::AdminServiceClient,
    },
};

/// How long a running delegate has for all its answers.
const DELEGATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Files by name; the delegate's part is missing if none answers, and a file says why.
struct Bundle {
    files: BTreeMap<&'static str, String>,
}

pub(super) async fn collect(options: &LoadOptions, since: Duration) -> Vec<File> {
    let mut bundle = Bundle { files: BTreeMap::new() };
    bundle.add_json("version.json", &versions());
    let loaded = config::load(options);
    match &loaded {
        Ok(loaded) => bundle.add_json("config.json", &config_command::document(loaded, true)),
        Err(complaints) => bundle.add("config-mistakes.txt", complaints.to_string()),
    }
    let findings = doctor::examine(options).await;
    bundle.add("doctor.txt", doctor_command::table(&findings, Style::plain()));
    bundle.add_json("doctor.json", &doctor_command::json(&findings));
    let asked = tokio::time::timeout(DELEGATE_TIMEOUT, ask(options, since, &mut bundle)).await;
    let trouble = match asked {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some(format!("no whole answer within {} s", DELEGATE_TIMEOUT.as_secs())),
    };
    if let Some(reason) = trouble {
        bundle.add("delegate-unreachable.txt", format!("{reason}\n"));
    }
    if let Ok(loaded) = &loaded {
        bundle.add_json("journal.json", &journal(&loaded.config.state_dir));
    }
    let redactor = loaded.as_ref().map_or_else(|_| Redactor::new([]), |loaded| Redactor::of(&loaded.config));
    bundle.finish(&redactor)
}

fn versions() -> Value {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    json!({
        "dlite": env!("CARGO_PKG_VERSION"),
        "journal_format": crate::journal::FORMAT,
        "system": text(system.sysname()),
        "release": text(system.release()),
        "machine": text(system.machine()),
        "made": time_now(),
    })
}

fn time_now() -> String {
    prost_types::Timestamp::from(SystemTime::now()).to_string()
}

/// Names and sizes of the state directory's files. None is opened.
fn journal(state_dir: &std::path::Path) -> Value {
    let files = std::fs::read_dir(state_dir).into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), json!(metadata.len())))
    });
    json!({ "state_dir": state_dir.display().to_string(), "file_bytes": files.collect::<serde_json::Map<_, _>>() })
}

async fn ask(options: &LoadOptions, since: Duration, bundle: &mut Bundle) -> Result<(), String> {
    let socket = config::admin_socket(options).map_err(|complaints| complaints.to_string())?;
    let client = client::connect(&socket).await.map_err(|error| chain(&error))?;
    gather(client, since, bundle).await.map_err(|status| status.message().to_owned())
}

async fn gather(mut client: AdminServiceClient<Channel>, since: Duration, bundle: &mut Bundle) -> Result<(), Status> {
    let answer = client.get_delegate(GetDelegateRequest {}).await?.into_inner();
    bundle.add_json("status.json", &status::json(&answer));
    let answer = client.get_resources(GetResourcesRequest {}).await?.into_inner();
    bundle.add_json("resources.json", &status::resources_json(&answer));
    let answer = client.list_tasks(ListTasksRequest {}).await?.into_inner();
    bundle.add_list("tasks.json", answer.tasks.iter().map(tasks::list_json));
    let answer = client.list_sessions(ListSessionsRequest {}).await?.into_inner();
    bundle.add_list("sessions.json", answer.sessions.iter().map(sessions::list_json));
    let answer = client.list_reports(ListReportsRequest {}).await?.into_inner();
    bundle.add_list("reports.json", answer.reports.iter().map(reports::list_json));
    let limit = u32::try_from(AUDITS_MAX).unwrap_or(u32::MAX);
    let answer = client.list_audits(ListAuditsRequest { limit }).await?.into_inner();
    bundle.add_list("audit.json", answer.audits.iter().map(audit::json));
    let since = since.try_into().ok();
    let answer = client.collect_telemetry(CollectTelemetryRequest { since }).await?.into_inner();
    bundle.add("metrics.txt", answer.metrics);
    bundle.add("log.txt", answer.log_lines.join("\n") + "\n");
    Ok(())
}

// === impl Bundle ===

impl Bundle {
    fn add(&mut self, name: &'static str, text: String) {
        self.files.insert(name, text);
    }

    fn add_json(&mut self, name: &'static str, value: &Value) {
        self.add(name, format!("{value:#}\n"));
    }

    fn add_list(&mut self, name: &'static str, values: impl Iterator<Item = Value>) {
        self.add_json(name, &Value::Array(values.collect()));
    }

    fn finish(self, redactor: &Redactor) -> Vec<File> {
        let file =
            |(name, text): (&str, String)| File { name: name.to_owned(), content: redactor.redact(&text).into_bytes() };
        self.files.into_iter().map(file).collect()
    }
}
