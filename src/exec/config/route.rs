//! A task type and the command that executes it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::Limits;
use crate::{
    kit::toml::{Section, value},
    sdk::{CLEANUP_CLASS, TaskKind},
};

/// Between SIGTERM and SIGKILL, unless said or the cancellation grants less.
pub(super) const GRACE_DEFAULT: Duration = Duration::from_secs(10);

pub(super) const RESULT_BYTES_MAX_DEFAULT: u64 = 1 << 20;

/// Log of one task that is passed on; enough for a long build, and no flood.
pub(super) const LOG_BYTES_MAX_DEFAULT: u64 = 4 << 20;

/// One `[routes.TASK_TYPE]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// 1 to 128 bytes.
    pub task_type: String,
    /// Program and arguments; with `shell = true`, `/bin/sh -c LINE`.
    pub command: Vec<String>,
    /// Longest run; the task's own limit counts too. `None`: the task's alone.
    pub timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL; never more than the cancellation grants.
    pub grace: Duration,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Variables of the runner's own environment that are handed on.
    pub pass_env: Vec<String>,
    /// Variables that hold a secret of the task, by its name. Without it secrets are files only.
    pub secret_env: BTreeMap<String, String>,
    pub kind: TaskKind,
    pub slot_class: Option<String>,
    pub idempotent: bool,
    /// What a session needs stands in its state alone.
    pub any_runner: bool,
    /// `None`: a directory of the task's own, empty at its start and removed at its end.
    pub working_dir: Option<PathBuf>,
    /// The exit code that means "nothing to do".
    pub skip_exit_code: Option<u8>,
    /// Bytes of standard output that may be a result.
    pub result_bytes_max: u64,
    /// Bytes of standard error that are passed on.
    pub log_bytes_max: u64,
    pub limits: Limits,
}

/// What routes inherit.
pub(super) struct Defaults {
    pub grace: Duration,
    pub result_bytes_max: u64,
    pub log_bytes_max: u64,
    pub limits: Limits,
}

// === impl Route ===

impl Route {
    /// `None` only with a complaint.
    pub(super) fn read(
        task_type: &str,
        section: &mut Section<'_, '_>,
        defaults: &Defaults,
        slots: &BTreeMap<String, u32>,
    ) -> Option<Self> {
        let shell = section.take("shell", value::boolean).unwrap_or(false);
        let parse = if shell { value::shell_line } else { value::command };
        let command = section.need("command", parse, "write command = [\"/path/of/program\", \"argument\"]");
        let kind = section.take("kind", kind).unwrap_or(TaskKind::Standalone);
        let own_class = (kind == TaskKind::SessionCleanup).then(|| CLEANUP_CLASS.to_owned());
        let slot_class = section.take("slot_class", value::text).or(own_class);
        let class = slot_class.as_deref().unwrap_or("default");
        // The SDK gives cleanups slots of their own.
        if !slots.contains_key(class) && class != CLEANUP_CLASS {
            let fix = format!("add {class} to slots, or choose one of its classes");
            let reason = format!("the class {class} has no slots, so the route would never get a task");
            match slot_class {
                Some(_) => section.complain("slot_class", reason, fix),
                None => section.complain_missing("slot_class", &reason, &fix),
            }
        }
        let route = Self {
            task_type: task_type.to_owned(),
            command: command.unwrap_or_default(),
            timeout: section.take("timeout", value::duration),
            grace: section.take("grace", value::duration).unwrap_or(defaults.grace),
            env: section.take("env", value::environment).unwrap_or_default(),
            pass_env: section.take("pass_env", value::variables).unwrap_or_default(),
            secret_env: section.take("secret_env", value::environment).unwrap_or_default(),
            kind,
            slot_class,
            idempotent: section.take("idempotent", value::boolean).unwrap_or(false),
            any_runner: section.take("any_runner", value::boolean).unwrap_or(false),
            working_dir: section.take("working_dir", value::absolute),
            skip_exit_code: section
                .take("skip_exit_code", |value| value::count(value, 1, 255))
                .and_then(|code| u8::try_from(code).ok()),
            result_bytes_max: section
                .take("result_bytes_max", value::result_bytes)
                .unwrap_or(defaults.result_bytes_max),
            log_bytes_max: section.take("log_bytes_max", value::bytes).unwrap_or(defaults.log_bytes_max),
            limits: section.section("limits", Limits::read).unwrap_or_default().or(defaults.limits),
        };
        if !(1..=128).contains(&task_type.len()) {
            section.complain_missing("command", "the task type is not 1 to 128 bytes long", "shorten the route's name");
        }
        (!route.command.is_empty()).then_some(route)
    }
}

fn kind(given: &toml::de::DeValue<'_>) -> Result<TaskKind, crate::kit::toml::Refusal> {
    match value::text(given)?.as_str() {
        "standalone" => Ok(TaskKind::Standalone),
        "setup" => Ok(TaskKind::SessionSetup),
        "execute" => Ok(TaskKind::SessionExecute),
        "cleanup" => Ok(TaskKind::SessionCleanup),
        other => value::refuse(
            format!("{other:?} is not one of its values"),
            "write \"standalone\", \"setup\", \"execute\" or \"cleanup\"",
        ),
    }
}
