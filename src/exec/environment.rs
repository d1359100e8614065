//! What a script finds in its environment: a few basics, what the route adds, and facts of the task. Nothing else of the runner's own.

use std::{collections::BTreeMap, env, time::SystemTime};

use tracing::warn;

use super::{config::Route, record::MARK, room::Room};
use crate::sdk::Context;

/// Taken from the runner's environment, or else as here.
const BASICS: [(&str, &str); 3] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")];

/// Longest name of a secret that becomes a file.
const SECRET_NAME_BYTES_MAX: usize = 128;

/// The script's environment. Secrets are in it only where the route asks for one.
pub(super) fn environment(
    route: &Route,
    room: &Room,
    context: &Context,
    has_secrets: bool,
) -> BTreeMap<String, String> {
    let basics = BASICS.map(|(name, default)| (name.to_owned(), env::var(name).unwrap_or_else(|_| default.to_owned())));
    let mut environment = BTreeMap::from(basics);
    for name in &route.pass_env {
        match env::var(name) {
            Ok(value) => drop(environment.insert(name.clone(), value)),
            Err(env::VarError::NotPresent) => {}
            Err(env::VarError::NotUnicode(_)) => warn!(name, "a variable is not UTF-8 and is not passed on"),
        }
    }
    environment.extend(route.env.clone());
    for (variable, name) in &route.secret_env {
        // Arguments and environment end at a NUL byte.
        match context.secret(name).map(|value| String::from_utf8(value.to_vec())) {
            Some(Ok(value)) if !value.contains('\0') => drop(environment.insert(variable.clone(), value)),
            Some(_) => warn!(task_id = context.task_id(), name, "a secret is no text and is in its file only"),
            None => warn!(task_id = context.task_id(), name, "the task has no such secret"),
        }
    }
    let mut set = |name: &str, value: String| drop(environment.insert(name.to_owned(), value));
    set(MARK, room.name());
    set("DLITE_TASK_ID", context.task_id().to_owned());
    set("DLITE_TASK_TYPE", context.task_type().to_owned());
    set("DLITE_ATTEMPT", context.attempt().to_string());
    set("DLITE_RESULT_FILE", room.result().display().to_string());
    set("DLITE_OUTPUT", room.outputs().display().to_string());
    if let Some(remaining) = context.time_remaining() {
        if let Some(deadline) = SystemTime::now().checked_add(remaining) {
            set("DLITE_DEADLINE", prost_types::Timestamp::from(deadline).to_string());
        }
        set("DLITE_TIME_REMAINING_MS", remaining.as_millis().to_string());
    }
    if has_secrets {
        set("DLITE_SECRETS_DIR", room.secrets().display().to_string());
    }
    if let Some((parent, state)) = context.trace_headers() {
        set("TRACEPARENT", parent);
        if !state.is_empty() {
            set("TRACESTATE", state);
        }
    }
    // A NUL byte can't be told; the delegate's texts hold none.
    environment.retain(|_, value| !value.contains('\0'));
    environment
}

/// Writes the task's usable secrets as files; whether there are any.
pub(super) fn write_secrets(room: &Room, context: &Context) -> std::io::Result<bool> {
    let mut has_secrets = false;
    for secret in context.secrets().iter().filter(|secret| !secret.mask_only) {
        if is_file_name(&secret.name) {
            room.write_secret(&secret.name, &secret.value)?;
            has_secrets = true;
        } else {
            warn!(task_id = context.task_id(), name = %secret.name, "a secret's name makes no file name; it is left out");
        }
    }
    Ok(has_secrets)
}

fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=SECRET_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_name_can_lead_nowhere_else() {
        assert!(is_file_name("deploy-key.pem"));
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\0"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }
}
