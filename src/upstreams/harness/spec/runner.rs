//! A request of the runner family in the core's words. Pure, as its parent.
//!
//! The data reaches the runner as the bytes that its base64 stands for; expressions in it that name secrets are the handler's to
//! resolve. What would need more than a handler makes the task one that is answered at once, by the name of the field:
//!
//! | field | supported |
//! |---|---|
//! | `task.data` | absent, null, or base64 |
//! | `task.forward`, `task.config` | absent or null |
//! | `task.type` | any but `daemonset/…` |
//! | `secrets[]` | type `secret/static`, with an id, and data that holds a value of at most 64 KiB; at most 256 |

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{SECRET_BYTES_MAX, SECRETS_MAX, labels, masked, trace};
use crate::{
    core::task::{Extension, Identity, Payload, Priority, Secret, Spec},
    proto::upstream::harness::v1::TaskInfo,
    upstreams::harness::{
        extensions::task_info,
        logs::destination::{LOGGER, LOGGER_BYTES_MAX},
        reply::Reply,
        stage,
        wire::runner::{DAEMON_SET, Logger, Request, SECRET_STATIC, StaticSecrets, Task},
    },
};

/// Longest part of a manager's word that an answer repeats, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// What this delegate does not do, by the field that asks for it.
type Unsupported = String;

/// What the core is to know of an acquired task of the runner family.
pub(in super::super) fn spec(
    request: &Request<'_>,
    account: &str,
    identity: &Identity,
    trace_pointers: &[String],
) -> Spec {
    let task = &request.task;
    let (payload, secrets, unsupported) = match content(request) {
        Ok((payload, secrets)) => (payload, secrets, None),
        Err(what) => (None, Vec::new(), Some(what.into())),
    };
    let info = TaskInfo {
        account_id: account.to_owned(),
        delegate_id: identity.delegate_id.to_string(),
        delegate_instance_id: identity.instance_id.to_string(),
        r#async: true,
        ..TaskInfo::default()
    };
    let trace_parent = payload.as_ref().and_then(|payload| trace::parent(&payload.content, trace_pointers));
    Spec {
        task_type: task.task_type.as_str().into(),
        kind: stage::kind_of(&task.task_type),
        priority: Priority::Normal,
        payload,
        labels: labels(None, account),
        secrets,
        extensions: std::iter::once(task_info(&info)).chain(logger(task.logger)).collect(),
        tenant: account.into(),
        // The family's requests carry none.
        timeout: None::<Duration>,
        reply: Reply::C.encode(),
        // Dialect C has no word for it.
        hand_back: false,
        unsupported,
        session: None,
        cleanup: stage::cleanup_of(&task.task_type),
        trace_parent,
    }
}

/// Whether tasks of this type are answered without looking any further.
pub(in super::super) fn is_unsupported(task_type: &str) -> bool {
    task_type.starts_with(DAEMON_SET)
}

fn content(request: &Request<'_>) -> Result<(Option<Payload>, Vec<Secret>), Unsupported> {
    let task = &request.task;
    if is_unsupported(&task.task_type) {
        return Err(format!("task.type {}: it runs no daemon sets", word(&task.task_type)));
    }
    plain("task", task)?;
    let payload = decoded(task.data)
        .map_err(|()| "task.data that is not base64".to_owned())?
        .map(|content| Payload { content_type: "application/json".into(), content: content.into() });
    let mut secrets = secrets(request.secrets)?;
    secrets.extend(masks(task.logger));
    Ok((payload, secrets))
}

/// No task is forwarded, and no handler downloaded.
fn plain(place: &str, task: &Task<'_>) -> Result<(), Unsupported> {
    for (field, value) in [("forward", task.forward), ("config", task.config)] {
        // An empty text is what some encoders make of no bytes.
        if value.is_some_and(|value| !matches!(value.get(), "null" | "\"\"")) {
            return Err(format!("{place}.{field}"));
        }
    }
    Ok(())
}

fn secrets(subtasks: Option<&RawValue>) -> Result<Vec<Secret>, Unsupported> {
    let Some(subtasks) = subtasks else { return Ok(Vec::new()) };
    let subtasks: Option<Vec<Task<'_>>> =
        serde_json::from_str(subtasks.get()).map_err(|_| "secrets of this form".to_owned())?;
    let subtasks = subtasks.unwrap_or_default();
    if subtasks.len() > SECRETS_MAX {
        return Err(format!("secrets: {} of them, more than {SECRETS_MAX}", subtasks.len()));
    }
    subtasks.iter().enumerate().map(|(nth, subtask)| secret(&format!("secrets[{nth}]"), subtask)).collect()
}

fn secret(place: &str, subtask: &Task<'_>) -> Result<Secret, Unsupported> {
    if subtask.task_type != SECRET_STATIC {
        return Err(format!("{place}.type {}: only {SECRET_STATIC} is resolved", word(&subtask.task_type)));
    }
    plain(place, subtask)?;
    if subtask.id.is_empty() {
        return Err(format!("{place}.id that is empty"));
    }
    let value = decoded(subtask.data)
        .ok()
        .flatten()
        .and_then(|data| serde_json::from_slice::<StaticSecrets>(&data).ok())
        .and_then(|held| held.secrets.into_iter().next())
        .ok_or_else(|| format!("{place}.data that holds no value"))?
        .value;
    if value.len() > SECRET_BYTES_MAX {
        return Err(format!("{place}.data with a value of more than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(Secret { name: subtask.id.as_str().into(), value: Bytes::from(value), mask_only: false })
}

/// What the log is not to show, beside the secrets.
fn masks(logger: Option<&RawValue>) -> Vec<Secret> {
    let logger = logger.and_then(|raw| serde_json::from_str::<Option<Logger>>(raw.get()).ok().flatten());
    masked(logger.map(|logger| logger.masks).unwrap_or_default())
}

/// Where the log goes, for the log service's adapter.
fn logger(logger: Option<&RawValue>) -> Option<Extension> {
    let json = logger.map(|raw| raw.get()).filter(|json| *json != "null" && json.len() <= LOGGER_BYTES_MAX)?;
    Some(Extension { name: LOGGER.into(), value: Bytes::copy_from_slice(json.as_bytes()) })
}

/// The bytes that a base64 text stands for; none: null or absent.
fn decoded(data: Option<&RawValue>) -> Result<Option<Vec<u8>>, ()> {
    let text: Option<String> = match data {
        Some(data) => serde_json::from_str(data.get()).map_err(|_| ())?,
        None => None,
    };
    text.map(|text| STANDARD.decode(text).map_err(|_| ())).transpose()
}

fn word(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(WORD_BYTES_MAX)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::task::Kind;

    fn spec_of(task: &str, secrets: &str) -> Spec {
        let text = format!(r#"{{"task":{task},"secrets":{secrets}}}"#);
        let request: Request<'_> = serde_json::from_str(&text).unwrap();
        let identity = Identity { delegate_id: "dlgEXAMPLE43".into(), instance_id: "instance-1".into() };
        spec(&request, "acctEXAMPLE0000000001", &identity, &[])
    }

    fn unsupported(task: &str, secrets: &str) -> String {
        spec_of(task, secrets).unsupported.expect("something is unsupported").to_string()
    }

    fn subtask(id: &str, value: &str) -> String {
        let data = STANDARD.encode(format!(r#"{{"secrets":[{{"id":"x","value":"{value}"}},{{"value":"second"}}]}}"#));
        format!(r#"{{"id":"{id}","type":"secret/static","data":"{data}","config":null,"forward":null}}"#)
    }

    #[test]
    fn data_is_what_its_base64_stands_for() {
        for data in ["{ \"n\":1.0 }\n", "not json \u{e9}", ""] {
            let task = format!(r#"{{"type":"vm_init","data":"{}"}}"#, STANDARD.encode(data));
            let spec = spec_of(&task, "[]");
            assert_eq!(spec.unsupported, None);
            assert_eq!((&spec.payload.unwrap().content[..], spec.kind), (data.as_bytes(), Kind::SessionSetup));
        }
        assert!(spec_of(r#"{"type":"vm_init","data":null}"#, "null").payload.is_none());
        assert_eq!(Reply::decode(&spec_of(r#"{"type":"x"}"#, "[]").reply), Ok(Reply::C));
    }

    #[test]
    fn static_secrets_are_resolved_and_masks_are_masked() {
        let task = r#"{"type":"x","logger":{"key":"k","masks":["hunter2",null,7]}}"#;
        let spec = spec_of(task, &format!("[{},{}]", subtask("db", "hunter3"), subtask("api", "")));
        let secrets: Vec<_> = spec.secrets.iter().map(|s| (&*s.name, &s.value[..], s.mask_only)).collect();
        assert_eq!(secrets, [("db", &b"hunter3"[..], false), ("api", &b""[..], false), ("", &b"hunter2"[..], true)]);
    }

    #[test]
    fn what_is_not_supported_is_named_and_nothing_of_it_is_kept() {
        let good = r#"{"type":"x","data":"e30="}"#;
        for (task, secrets, says) in [
            (r#"{"type":"x","forward":{"string":"a:1"}}"#, "[]".to_owned(), "task.forward"),
            (r#"{"type":"x","config":"e30="}"#, "[]".to_owned(), "task.config"),
            (r#"{"type":"x","data":"%%"}"#, "[]".to_owned(), "task.data"),
            (r#"{"type":"x","data":{"a":1}}"#, "[]".to_owned(), "task.data"),
            (r#"{"type":"daemonset/upsert"}"#, "[]".to_owned(), "task.type daemonset/upsert"),
            (good, r#"[{"id":"s","type":"secret/vault/fetch"}]"#.to_owned(), "secrets[0].type secret/vault/fetch"),
            (good, format!("[{},{}]", subtask("a", "b"), r#"{"id":"s","type":"x"}"#), "secrets[1].type x"),
            (good, r#"[{"id":"s","type":"secret/static","data":"e30="}]"#.to_owned(), "secrets[0].data"),
            (good, format!("[{}]", subtask("", "v")), "secrets[0].id"),
            (good, format!("[{}]", subtask("s", &"v".repeat(SECRET_BYTES_MAX + 1))), "secrets[0].data"),
            (good, r#"{"new":"form"}"#.to_owned(), "secrets"),
            (good, r#"[{"id":"s","type":"secret/static","forward":{}}]"#.to_owned(), "secrets[0].forward"),
        ] {
            assert!(unsupported(task, &secrets).starts_with(says), "{says}: {}", unsupported(task, &secrets));
            let spec = spec_of(task, &secrets);
            assert!(spec.payload.is_none() && spec.secrets.is_empty(), "{says}");
        }
        assert_eq!(spec_of(r#"{"type":"x","config":"","forward":null}"#, "null").unsupported, None);
    }
}
