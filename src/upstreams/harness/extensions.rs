//! Typed additions to tasks and results, which travel beside the payload, to handlers that ask for them, and unopened in between.
//!
//! | extension | way | what |
//! |---|---|---|
//! | `TaskInfo` | down | of each task; made in [`spec`](super::spec) |
//! | `TestIntelligence` | down | of CI tasks whose payload has a `ti_config`; its token is listed to be masked, too |
//! | `TaskReport` | up | joins the body: `telemetry_data`, `optimization_state` |
//!
//! Others on the way up are dropped.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use prost::{Message, Name};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::spec::{SECRET_BYTES_MAX, SECRETS_MAX};
use crate::{
    core::task::{Extension, Secret, Spec},
    proto::upstream::harness::v1::{TaskInfo, TaskReport, TestIntelligence},
};

/// Where a task has its `ti_config`, by its type.
const TI_CONFIGS: [(&str, &[&str]); 5] = [
    ("DLITE_CI_VM_INITIALIZE_TASK", &["setup_vm_request", "setup_request", "ti_config"]),
    ("DLITE_CI_VM_EXECUTE_TASK", &["execute_step_request", "start_step_request", "ti_config"]),
    ("DLITE_CI_VM_EXECUTE_TASK_V2", &["execute_step_request", "start_step_request", "ti_config"]),
    ("CI_DOCKER_INITIALIZE_TASK", &["setup_request", "ti_config"]),
    ("CI_DOCKER_EXECUTE_TASK", &["start_step_request", "ti_config"]),
];

/// A `ti_config` has some fifteen short members; one that is larger travels in the payload alone, so that it never makes a task too
/// large for its frame.
const TI_CONFIG_BYTES_MAX: usize = 16 * 1024;

/// Bounds of `TaskReport`, from its comments.
const TELEMETRY_BYTES_MAX: usize = 64 * 1024;
const OPTIMIZATION_STATE_BYTES_MAX: usize = 64;

pub(super) fn task_info(info: &TaskInfo) -> Extension {
    extension(info)
}

/// Adds what the payload brings of test intelligence.
pub(super) fn add_test_intelligence(spec: &mut Spec) {
    let Some(payload) = &spec.payload else { return };
    let Some((_, path)) = TI_CONFIGS.iter().find(|(task_type, _)| *task_type == spec.task_type.as_str()) else {
        return;
    };
    let Some(intelligence) = pointed(&payload.content, path).and_then(test_intelligence) else { return };
    let token = Bytes::copy_from_slice(intelligence.token.as_bytes());
    if !token.is_empty() && spec.secrets.len() < SECRETS_MAX {
        spec.secrets.push(Secret { name: "".into(), value: token, mask_only: true });
    }
    spec.extensions.push(extension(&intelligence));
}

fn extension<M: Message + Name>(message: &M) -> Extension {
    Extension { name: M::full_name().into(), value: message.encode_to_vec().into() }
}

/// The value at `path`, through objects alone.
fn pointed<'a>(content: &'a [u8], path: &[&str]) -> Option<&'a RawValue> {
    let (first, rest) = path.split_first()?;
    let value = *members(content)?.get(*first)?;
    if rest.is_empty() { Some(value) } else { pointed(value.get().as_bytes(), rest) }
}

fn members(content: &[u8]) -> Option<BTreeMap<Cow<'_, str>, &RawValue>> {
    serde_json::from_slice(content).ok()
}

/// `None` for one without a URL, which is of use to nobody.
fn test_intelligence(config: &RawValue) -> Option<TestIntelligence> {
    if config.get().len() > TI_CONFIG_BYTES_MAX {
        tracing::debug!(bytes = config.get().len(), "left a ti_config that is too large to its payload");
        return None;
    }
    let mut config = members(config.get().as_bytes())?;
    let mut text = |name: &str| config.remove(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let (url, token) = (text("url").filter(|url| !url.is_empty())?, text("token").unwrap_or_default());
    let config_json = serde_json::to_vec(&config).ok()?.into();
    (token.len() <= SECRET_BYTES_MAX).then_some(TestIntelligence { url, token, config_json })
}

/// A result's body with what its extensions add: only to an object, and only members it does not have.
pub(super) fn enriched<'a>(body: Cow<'a, [u8]>, extensions: &[Extension]) -> Cow<'a, [u8]> {
    let report = task_report(extensions);
    if report == TaskReport::default() {
        return body;
    }
    let Ok(present) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, IgnoredAny>>(&body) else { return body };
    let mut added = Vec::new();
    if !report.telemetry_json.is_empty() && !present.contains_key("telemetry_data") {
        added.push([&br#""telemetry_data":"#[..], &report.telemetry_json].concat());
    }
    if !report.optimization_state.is_empty() && !present.contains_key("optimization_state") {
        let state = serde_json::Value::from(report.optimization_state).to_string();
        added.push([&br#""optimization_state":"#[..], state.as_bytes()].concat());
    }
    let is_empty = present.is_empty();
    // The handler's own bytes stay as they are, up to the brace that closes them.
    let Some(end) = body.iter().rposition(|byte| *byte == b'}').filter(|_| !added.is_empty()) else { return body };
    let comma = if is_empty { &b""[..] } else { b"," };
    Cow::Owned([&body[..end], comma, &added.join(&b','), &body[end..]].concat())
}

/// What can be told to the manager.
fn task_report(extensions: &[Extension]) -> TaskReport {
    let mut report = TaskReport::default();
    for extension in extensions {
        if *extension.name != *TaskReport::full_name() {
            tracing::debug!(name = %extension.name, bytes = extension.value.len(), "dropped an extension of a result");
            continue;
        }
        match TaskReport::decode(extension.value.clone()) {
            Ok(told) => report = told,
            Err(error) => tracing::debug!(name = %extension.name, %error, "dropped an extension of a result"),
        }
    }
    let is_object = |json: &[u8]| serde_json::from_slice::<BTreeMap<Cow<'_, str>, IgnoredAny>>(json).is_ok();
    if report.telemetry_json.len() > TELEMETRY_BYTES_MAX || !is_object(&report.telemetry_json) {
        report.telemetry_json.clear();
    }
    if report.optimization_state.len() > OPTIMIZATION_STATE_BYTES_MAX {
        report.optimization_state.clear();
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> String {
        format!(r#"{{"url":{url},"token":"hush","sha":"11aa","build_id":77777777777777777777,"n":1.0}}"#)
    }

    #[test]
    fn a_ti_config_is_found_where_its_task_type_has_it() {
        let nest = |path: &[&str], inner: String| {
            path.iter().rev().fold(inner, |inner, name| format!(r#"{{"other":1, "{name}": {inner} }}"#))
        };
        for (task_type, path) in TI_CONFIGS {
            let text = nest(path, config(r#""https://ti.example.test""#));
            let found = pointed(text.as_bytes(), path).and_then(test_intelligence).expect(task_type);
            assert_eq!((found.url.as_str(), found.token.as_str()), ("https://ti.example.test", "hush"));
            // What is left of it keeps each value as it was written.
            assert_eq!(&found.config_json[..], br#"{"build_id":77777777777777777777,"n":1.0,"sha":"11aa"}"#);
            assert!(!format!("{found:?}").contains("hush"));
        }
    }

    #[test]
    fn what_is_no_ti_config_makes_no_extension() {
        for text in [r#""""#, "null", "7"] {
            let config = config(text);
            assert_eq!(test_intelligence(&RawValue::from_string(config).expect("json")), None, "{text}");
        }
        for text in ["null", "[]", "7"] {
            assert_eq!(test_intelligence(&RawValue::from_string(text.to_owned()).expect("json")), None, "{text}");
        }
        let large = format!(r#"{{"url":"u","x":"{}"}}"#, "x".repeat(TI_CONFIG_BYTES_MAX));
        assert_eq!(test_intelligence(&RawValue::from_string(large).expect("json")), None);
        assert!(pointed(b"{ no json", &["ti_config"]).is_none());
        assert!(pointed(br#"{"setup_request":null}"#, &["setup_request", "ti_config"]).is_none());
    }

    fn told(telemetry: &str, state: &str) -> Vec<Extension> {
        let telemetry_json = Bytes::copy_from_slice(telemetry.as_bytes());
        vec![extension(&TaskReport { telemetry_json, optimization_state: state.to_owned() })]
    }

    fn body(text: &str, extensions: &[Extension]) -> String {
        String::from_utf8(enriched(Cow::Borrowed(text.as_bytes()), extensions).into_owned()).expect("utf-8")
    }

    #[test]
    fn a_body_gains_what_it_does_not_have_and_keeps_its_bytes() {
        let both = told(r#"{"n":1}"#, "FULL");
        let added = r#""telemetry_data":{"n":1},"optimization_state":"FULL""#;
        assert_eq!(body("{ \"a\": 1.0 }\n", &both), format!("{{ \"a\": 1.0 ,{added}}}\n"));
        assert_eq!(body("{}", &both), format!("{{{added}}}"));
        let own = r#"{"telemetry_data":null,"optimization_state":""}"#;
        assert_eq!(body(own, &both), own);
        for other in ["[1]", "7", "no json", ""] {
            assert_eq!(body(other, &both), other);
        }
    }

    #[test]
    fn unknown_extensions_and_values_out_of_bounds_are_dropped() {
        let unknown = Extension { name: "some.other.Type".into(), value: Bytes::from_static(b"\xff\xff") };
        let broken = Extension { name: TaskReport::full_name().into(), value: Bytes::from_static(b"\xff\xff") };
        assert_eq!(body("{}", &[unknown, broken]), "{}");
        let large = "x".repeat(65);
        for telemetry in ["[1]", "{", &format!(r#"{{"x":"{}"}}"#, "x".repeat(TELEMETRY_BYTES_MAX))] {
            assert_eq!(body("{}", &told(telemetry, &large)), "{}");
        }
        assert_eq!(body("{}", &told("", "a\"b")), r#"{"optimization_state":"a\"b"}"#);
    }
}
