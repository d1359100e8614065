//! The configuration as the rest of the program knows it: every value of the right type, within its bounds, and no file left to read
//! but those that are made at start.
//!
//! The meaning, unit, bounds and default of each field are in the table of options, under the key of the same name.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    headers::Headers,
    proxy::{NoProxy, Proxy, ProxyUrl},
    ratio::Ratio,
    secret::Secret,
    settings::{Settings, Values},
    value::Listen,
};

/// The whole configuration; immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    pub state_dir: PathBuf,
    pub tasks_max: u32,
    pub log: Log,
    pub admin: Admin,
    pub http: Http,
    pub metrics: Metrics,
    pub traces: Traces,
    pub runners: Runners,
    pub drain: Drain,
    pub logs: Logs,
    pub admission: Admission,
    pub sessions: Sessions,
    /// At least one, names unique, in the order of the file.
    pub upstreams: Vec<Upstream>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// Directives that `tracing_subscriber::EnvFilter` accepts.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// At most 107 bytes, as the system demands.
    pub socket: PathBuf,
}

/// Where metrics and health are asked for, and the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Absent: switched off.
    pub listen: Option<SocketAddr>,
    pub page: HttpPage,
}

/// Whether the status page is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpPage {
    /// On a loopback address only.
    Auto,
    On,
    Off,
}

/// Where metrics are sent to, besides being there to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Of the collector, without a slash at its end; absent: none are sent.
    pub endpoint: Option<String>,
    pub protocol: OtlpProtocol,
    pub interval: Duration,
}

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Of the collector, without a slash at its end; absent: no spans are made.
    pub endpoint: Option<String>,
    pub protocol: OtlpProtocol,
    pub sample_ratio: Ratio,
    /// Sent with each request: names in lower case, and values that are secrets. Read from `traces.headers_file`.
    pub headers: Headers,
    pub timeout: Duration,
}

/// Which of OTLP's transports is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    /// HTTP with protobuf bodies.
    Http,
}

/// How runners attach, and the times of their leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runners {
    /// At most 107 bytes, as the system demands.
    pub socket: PathBuf,
    /// Without it there is no TCP.
    pub listen: Option<SocketAddr>,
    /// May not exist yet.
    pub token_file: PathBuf,
    /// At least three times `heartbeat_interval`.
    pub lease_ttl: Duration,
    pub heartbeat_interval: Duration,
    pub accept_timeout: Duration,
    pub reassign_margin: Duration,
    pub cancel_grace: Duration,
    pub revoke_margin: Duration,
    pub no_runner_timeout: Duration,
    /// Without it a run has its own limits alone.
    pub run_time_max: Option<Duration>,
    /// At least 1.
    pub attempts_max: u32,
    pub cleanup_reserve: u32,
}

/// When a host is too full for more, and where that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub interval: Duration,
    pub memory: Marks,
    pub memory_pressure: Marks,
    pub disk: Marks,
    pub cpu: Marks,
    pub cpu_pressure: Marks,
    pub io_pressure: Marks,
    /// Percentage points.
    pub execute_margin: u32,
    pub starts_per_second: u32,
    pub starts_burst: u32,
    /// Absent: not summed up, as for the next two.
    pub cpu_capacity_millis: Option<u32>,
    pub memory_capacity_mib: Option<u32>,
    pub disk_capacity_mib: Option<u32>,
    pub disk_path: PathBuf,
    pub proc_dir: PathBuf,
    /// Absent: this process' own.
    pub cgroup_dir: Option<PathBuf>,
}

/// Percents; `low` is below `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub high: u32,
    pub low: u32,
}

/// What becomes of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How long a report waits for its task's logs.
    pub report_wait: Duration,
    /// Logs go to this directory; none: to their upstreams' log services.
    pub files: Option<PathBuf>,
    pub log_max_mib: u32,
    pub all_max_mib: u32,
}

/// How the delegate empties itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub grace: Duration,
    pub on_signal: OnSignal,
}

/// What a process that is told to end waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    FinishTasks,
    FinishSessions,
    Cancel,
    /// Nothing; what runs goes on in the runners.
    Leave,
}

/// Stages, from setup to cleanup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// At most 30 days.
    pub ttl: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    pub kind: UpstreamKind,
    /// http or https, without a slash at its end.
    pub endpoint: String,
    /// Letters, digits, `_` and `-`, so it needs no escaping in URLs. Empty: a Drone server, which has no accounts.
    pub account_id: String,
    /// 32 hex digits as given, base64 undone; empty for a Drone server.
    pub account_secret: Secret,
    /// The file that the secret was read from, if it was one.
    pub account_secret_file: Option<PathBuf>,
    /// Of a Drone server, and only of one.
    pub secret: Option<Secret>,
    /// The file that it was read from, if it was one.
    pub secret_file: Option<PathBuf>,
    pub delegate_name: String,
    pub host_name: Option<String>,
    pub tags: Vec<String>,
    /// With them the delegate registers at once, without it when the first runner has named its handlers.
    pub task_types: Option<Vec<String>>,
    pub poll_interval: Duration,
    pub heartbeat_interval: Duration,
    pub request_timeout: Duration,
    pub report_age_max: Duration,
    /// At most `report_retry_max`.
    pub report_retry_min: Duration,
    pub report_retry_max: Duration,
    pub acquire_recovery_max: Duration,
    /// At least 1.
    pub weight: u32,
    pub family: Family,
    /// Announced; absent: nothing is.
    pub capacity: Option<u32>,
    /// Each a task type, `=` and a JSON pointer.
    pub session_pointers: Vec<String>,
    pub unregister_on_stop: bool,
    pub legacy_status_code: LegacyStatusCode,
    pub log_upload: LogUpload,
    pub send_secret_in_body: bool,
    /// JSON pointers, each of which begins with `/`.
    pub trace_pointers: Vec<String>,
    /// Before `no_proxy` is looked at; see [`Upstream::way`].
    pub proxy: Option<ProxyUrl>,
    pub no_proxy: NoProxy,
    pub tls: Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    Harness,
    Drone,
}

/// Which calls of a Harness manager are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Legacy,
    Runner,
}

/// How whole logs get to an upstream's log service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogUpload {
    /// As each task says.
    Task,
    Direct,
    Link,
}

/// What the legacy dialect says of a task that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyStatusCode {
    Failed,
    /// As the Go client does, whatever the outcome.
    Ok,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Beside the system's. Each held a PEM certificate when it was read.
    pub ca_files: Vec<PathBuf>,
    pub verify: bool,
    pub client: Option<ClientCert>,
}

/// What is shown to a server that asks who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// PEM, the chain included.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

// === impl Config ===

impl Config {
    /// `settings` without a complaint left.
    pub(super) fn build(settings: &Settings) -> Self {
        let global = &settings.global;
        Self {
            name: global.need("name"),
            state_dir: global.need("state_dir"),
            tasks_max: global.need("tasks_max"),
            log: Log {
                format: match global.need::<String>("log.format").as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => unknown_choice("log.format", other),
                },
                filter: global.need("log.filter"),
            },
            admin: Admin { socket: global.need("admin.socket") },
            http: Http {
                listen: match global.need("http.listen") {
                    Listen::On(address) => Some(address),
                    Listen::Off => None,
                },
                page: match global.need::<String>("http.page").as_str() {
                    "auto" => HttpPage::Auto,
                    "on" => HttpPage::On,
                    "off" => HttpPage::Off,
                    other => unknown_choice("http.page", other),
                },
            },
            metrics: Metrics {
                endpoint: global.get("metrics.endpoint"),
                protocol: match global.need::<String>("metrics.protocol").as_str() {
                    "grpc" => OtlpProtocol::Grpc,
                    "http" | "http/protobuf" => OtlpProtocol::Http,
                    other => unknown_choice("metrics.protocol", other),
                },
                interval: global.need("metrics.interval"),
            },
            traces: Traces::build(global),
            runners: Runners {
                socket: global.need("runners.socket"),
                listen: global.get("runners.listen"),
                token_file: global.need("runners.token_file"),
                lease_ttl: global.need("runners.lease_ttl"),
                heartbeat_interval: global.need("runners.heartbeat_interval"),
                accept_timeout: global.need("runners.accept_timeout"),
                reassign_margin: global.need("runners.reassign_margin"),
                cancel_grace: global.need("runners.cancel_grace"),
                revoke_margin: global.need("runners.revoke_margin"),
                no_runner_timeout: global.need("runners.no_runner_timeout"),
                run_time_max: global.get("runners.run_time_max"),
                attempts_max: global.need("runners.attempts_max"),
                cleanup_reserve: global.need("runners.cleanup_reserve"),
            },
            drain: Drain {
                grace: global.need("drain.grace"),
                on_signal: match global.need::<String>("drain.on_signal").as_str() {
                    "finish_tasks" => OnSignal::FinishTasks,
                    "finish_sessions" => OnSignal::FinishSessions,
                    "cancel" => OnSignal::Cancel,
                    "leave" => OnSignal::Leave,
                    other => unknown_choice("drain.on_signal", other),
                },
            },
            logs: Logs {
                report_wait: global.need("logs.report_wait"),
                files: match global.need::<String>("logs.sink").as_str() {
                    "upstream" => None,
                    "file" => Some(global.need("logs.dir")),
                    other => unknown_choice("logs.sink", other),
                },
                log_max_mib: global.need("logs.log_max_mib"),
                all_max_mib: global.need("logs.all_max_mib"),
            },
            admission: Admission::build(global),
            sessions: Sessions { ttl: global.need("sessions.ttl") },
            upstreams: settings.upstreams.iter().map(Upstream::build).collect(),
        }
    }
}

// === impl Traces ===

impl Traces {
    fn build(global: &Values) -> Self {
        Self {
            endpoint: global.get("traces.endpoint"),
            protocol: match global.need::<String>("traces.protocol").as_str() {
                "grpc" => OtlpProtocol::Grpc,
                "http" | "http/protobuf" => OtlpProtocol::Http,
                other => unknown_choice("traces.protocol", other),
            },
            sample_ratio: global.need("traces.sample_ratio"),
            // A file that holds none was complained about.
            headers: global
                .get::<PathBuf>("traces.headers_file")
                .and_then(|path| Headers::read(&path).ok())
                .unwrap_or_default(),
            timeout: global.need("traces.timeout"),
        }
    }
}

// === impl Admission ===

impl Admission {
    fn build(global: &Values) -> Self {
        let marks = |high, low| Marks { high: global.need(high), low: global.need(low) };
        Self {
            interval: global.need("admission.interval"),
            memory: marks("admission.memory_high", "admission.memory_low"),
            memory_pressure: marks("admission.memory_pressure_high", "admission.memory_pressure_low"),
            disk: marks("admission.disk_high", "admission.disk_low"),
            cpu: marks("admission.cpu_high", "admission.cpu_low"),
            cpu_pressure: marks("admission.cpu_pressure_high", "admission.cpu_pressure_low"),
            io_pressure: marks("admission.io_pressure_high", "admission.io_pressure_low"),
            execute_margin: global.need("admission.execute_margin"),
            starts_per_second: global.need("admission.starts_per_second"),
            starts_burst: global.need("admission.starts_burst"),
            cpu_capacity_millis: global.get("admission.cpu_capacity_millis"),
            memory_capacity_mib: global.get("admission.memory_capacity_mib"),
            disk_capacity_mib: global.get("admission.disk_capacity_mib"),
            disk_path: global.get("admission.disk_path").unwrap_or_else(|| global.need("state_dir")),
            proc_dir: global.need("admission.proc_dir"),
            cgroup_dir: global.get("admission.cgroup_dir"),
        }
    }
}

// === impl UpstreamKind ===

impl UpstreamKind {
    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harness => "harness",
            Self::Drone => "drone",
        }
    }
}

// === impl Upstream ===

impl Upstream {
    fn build(values: &Values) -> Self {
        Self {
            name: values.need("upstreams[].name"),
            kind: match values.need::<String>("upstreams[].kind").as_str() {
                "harness" => UpstreamKind::Harness,
                "drone" => UpstreamKind::Drone,
                other => unknown_choice("upstreams[].kind", other),
            },
            endpoint: values.need("upstreams[].endpoint"),
            account_id: values.get("upstreams[].account_id").unwrap_or_default(),
            account_secret: values.get("upstreams[].account_secret").unwrap_or_else(|| Secret::new("")),
            account_secret_file: values.get("upstreams[].account_secret_file"),
            secret: values.get("upstreams[].secret"),
            secret_file: values.get("upstreams[].secret_file"),
            delegate_name: values.need("upstreams[].delegate_name"),
            host_name: values.get("upstreams[].host_name"),
            tags: values.need("upstreams[].tags"),
            task_types: values.get("upstreams[].task_types"),
            poll_interval: values.need("upstreams[].poll_interval"),
            heartbeat_interval: values.need("upstreams[].heartbeat_interval"),
            request_timeout: values.need("upstreams[].request_timeout"),
            report_age_max: values.need("upstreams[].report_age_max"),
            report_retry_min: values.need("upstreams[].report_retry_min"),
            report_retry_max: values.need("upstreams[].report_retry_max"),
            acquire_recovery_max: values.need("upstreams[].acquire_recovery_max"),
            weight: values.need("upstreams[].weight"),
            family: match values.need::<String>("upstreams[].family").as_str() {
                "legacy" => Family::Legacy,
                "runner" => Family::Runner,
                other => unknown_choice("upstreams[].family", other),
            },
            capacity: values.get("upstreams[].capacity"),
            session_pointers: values.need("upstreams[].session_pointers"),
            unregister_on_stop: values.need("upstreams[].unregister_on_stop"),
            log_upload: match values.need::<String>("upstreams[].log_upload").as_str() {
                "task" => LogUpload::Task,
                "direct" => LogUpload::Direct,
                "link" => LogUpload::Link,
                other => unknown_choice("upstreams[].log_upload", other),
            },
            legacy_status_code: match values.need::<String>("upstreams[].legacy_status_code").as_str() {
                "failed" => LegacyStatusCode::Failed,
                "ok" => LegacyStatusCode::Ok,
                other => unknown_choice("upstreams[].legacy_status_code", other),
            },
            send_secret_in_body: values.need("upstreams[].send_secret_in_body"),
            trace_pointers: values.need("upstreams[].trace_pointers"),
            proxy: match values.get("upstreams[].proxy") {
                Some(Proxy::Through(proxy)) => Some(proxy),
                Some(Proxy::None) | None => None,
            },
            // Rules that are none were complained about.
            no_proxy: NoProxy::parse(values.get::<Vec<String>>("upstreams[].no_proxy").unwrap_or_default())
                .unwrap_or_default(),
            tls: Tls {
                ca_files: values.need("upstreams[].tls.ca_files"),
                verify: values.need("upstreams[].tls.verify"),
                client: values
                    .get("upstreams[].tls.client_cert")
                    .zip(values.get("upstreams[].tls.client_key"))
                    .map(|(cert, key)| ClientCert { cert, key }),
            },
        }
    }

    /// The proxy that requests to this upstream go through, if any.
    pub fn way(&self) -> Option<&ProxyUrl> {
        let exempt = reqwest::Url::parse(&self.endpoint).is_ok_and(|endpoint| self.no_proxy.matches(&endpoint));
        self.proxy.as_ref().filter(|_| !exempt)
    }
}

/// The kind was checked against the table's choices, so only a choice added there and not here ends up in this place.
fn unknown_choice(key: &str, choice: &str) -> ! {
    unreachable!("{key} has the choice {choice:?} in the table of options and no meaning here")
}
