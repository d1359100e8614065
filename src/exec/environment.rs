//! What a script finds in its environment: a few basics, what the route adds, and facts of the task. Nothing else of the runner's own.

use std::{collections::BTreeMap, env, time::SystemTime};

use tracing::warn;

use super::{config::Route, room::Room, session};
use crate::{
    kit::keeper::MARK,
    sdk::{Context, Session},
};

/// Taken from the runner's environment, or else as here.
const BASICS: [(&str, &str); 3] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")];

/// Longest name of a secret that becomes a file.
const SECRET_NAME_BYTES_MAX: usize = 128;

/// The script's environment. Secrets are in it only where the route asks for one.
pub(super) fn environment(
    route: &Route,
    room: &Room,
    context: &Context,
    session: Option<&Session>,
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
    for variable in exported(context, session).filter(|variable| !variable.sensitive) {
        environment.insert(variable.name.clone(), variable.value.clone());
    }
    environment.extend(route.env.clone());
    for (variable, name) in &route.secret_env {
        // Arguments and environment end at a NUL byte.
        let exported = || exported(context, session).find(|variable| variable.name == *name);
        let value = context.secret(name).or_else(|| exported().map(|variable| variable.value.as_bytes()));
        match value.map(|value| String::from_utf8(value.to_vec())) {
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
    set("DLITE_EXPORT", room.exports().display().to_string());
    if let Some(session) = session {
        set("DLITE_SESSION_ID", session.id().to_owned());
        set("DLITE_SESSION_EXTERNAL_ID", session.external_id().to_owned());
        set("DLITE_SESSION_STATE", room.session_state().display().to_string());
        set("DLITE_SESSION_SENSITIVE_STATE", room.sensitive_state().display().to_string());
    }
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

/// What earlier tasks of the session exported and a script can be given.
fn exported<'a>(
    context: &Context,
    session: Option<&'a Session>,
) -> impl Iterator<Item = &'a crate::sdk::ExportedVariable> {
    let task_id = context.task_id().to_owned();
    let variables = session.map_or(&[][..], Session::exported_variables);
    variables.iter().filter(move |variable| {
        let usable = session::is_usable(variable);
        if !usable {
            warn!(task_id, name = %variable.name, "an exported variable can't be in an environment; it is left out");
        }
        usable
    })
}

/// Writes the task's usable secrets as files, and the session's sensitive variables; whether there are any.
pub(super) fn write_secrets(room: &Room, context: &Context, session: Option<&Session>) -> std::io::Result<bool> {
    let mut has_secrets = false;
    let variables = session.map_or(&[][..], Session::exported_variables);
    for variable in variables.iter().filter(|variable| variable.sensitive && session::is_usable(variable)) {
        room.write_secret(&variable.name, variable.value.as_bytes())?;
        has_secrets = true;
    }
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
