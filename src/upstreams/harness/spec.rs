//! An acquired task in the core's words. Pure: the same answer gives the same spec.

pub(super) mod runner;
mod trace;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    extensions::{add_test_intelligence, task_info},
    options::LegacyStatusCode,
    reply::Reply,
    stage, wire,
};
use crate::{
    core::task::{Identity, Payload, Priority, Secret, Spec},
    proto::upstream::harness::v1::TaskInfo,
};

/// Labels taken from a task, and the size of a name or value in bytes. The manager sends some ten short ones.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 1024;
/// Values to mask taken from a task, and their size in bytes: as many as a runner is promised at most.
pub(super) const SECRETS_MAX: usize = 256;
pub(super) const SECRET_BYTES_MAX: usize = 64 * 1024;
/// The label that names the account. The manager's own abstractions use the same name.
const LABEL_ACCOUNT: &str = "accountId";

/// What the core is to know of an acquired task of the legacy family.
pub(super) fn spec(
    task: &wire::Task<'_>,
    account: &str,
    identity: &Identity,
    legacy: LegacyStatusCode,
    trace_pointers: &[String],
) -> Spec {
    let timeout = u64::try_from(task.timeout).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    let abstractions = task.logging.as_ref().and_then(|logging| logging.abstractions);
    let reply = Reply::new(task.runner_response, legacy);
    let mut spec = Spec {
        task_type: task.task_type.as_str().into(),
        kind: stage::kind_of(&task.task_type),
        priority: if task.is_async { Priority::Normal } else { Priority::High },
        payload: task.data.map(|data| Payload {
            content_type: Arc::from("application/json"),
            content: Bytes::copy_from_slice(data.get().as_bytes()),
        }),
        labels: labels(abstractions, account),
        secrets: secrets(task.secrets),
        extensions: vec![task_info(&info(task, account, identity, timeout, abstractions))],
        tenant: account.into(),
        timeout,
        reply: reply.encode(),
        // Only dialect A has a word for it, and whoever wants the Go client's codes does not want this one.
        hand_back: reply == Reply::A,
        unsupported: None,
        session: None,
        cleanup: stage::cleanup_of(&task.task_type),
        trace_parent: task.data.and_then(|data| trace::parent(data.get().as_bytes(), trace_pointers)),
    };
    add_test_intelligence(&mut spec);
    spec
}

/// The abstractions that are text, and the account.
fn labels(abstractions: Option<&RawValue>, account: &str) -> BTreeMap<String, String> {
    let all: BTreeMap<String, serde_json::Value> =
        abstractions.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let texts = all.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::String(text) if name.len().max(text.len()) <= LABEL_BYTES_MAX => Some((name, text)),
        _ => None,
    });
    let mut labels: BTreeMap<_, _> = texts.take(LABELS_MAX - 1).collect();
    labels.insert(LABEL_ACCOUNT.to_owned(), account.to_owned());
    labels
}

/// The values that are text. They have no names; masking needs none.
fn secrets(values: Option<&RawValue>) -> Vec<Secret> {
    masked(values.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default())
}

fn masked(all: Vec<serde_json::Value>) -> Vec<Secret> {
    let usable = all.into_iter().filter_map(|value| match value {
        serde_json::Value::String(text) if !text.is_empty() && text.len() <= SECRET_BYTES_MAX => Some(text),
        _ => None,
    });
    usable.take(SECRETS_MAX).map(|text| Secret { name: "".into(), value: text.into(), mask_only: true }).collect()
}

fn info(
    task: &wire::Task<'_>,
    account: &str,
    identity: &Identity,
    timeout: Option<Duration>,
    abstractions: Option<&RawValue>,
) -> TaskInfo {
    let json = |raw: Option<&RawValue>| raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default();
    TaskInfo {
        account_id: account.to_owned(),
        delegate_id: identity.delegate_id.to_string(),
        delegate_instance_id: identity.instance_id.to_string(),
        r#async: task.is_async,
        runner_response: task.runner_response,
        timeout: timeout.and_then(|timeout| prost_types::Duration::try_from(timeout).ok()),
        log_abstractions_json: json(abstractions),
        capabilities_json: json(task.capabilities),
    }
}

#[cfg(test)]
mod tests {
    use prost::{Message as _, Name as _};

    use super::*;
    use crate::{core::task::Kind, proto::upstream::harness::v1::TestIntelligence};

    const ACCOUNT: &str = "acctEXAMPLE0000000001";
    const DATA: &str = r#"{ "a":1.0 ,"big":12345678901234567890123,"s":"\u00e9é\/" }"#;

    fn spec_of(text: &str) -> Spec {
        let identity = Identity { delegate_id: "dlgEXAMPLE42".into(), instance_id: "instance-1".into() };
        spec(&serde_json::from_str(text).unwrap(), ACCOUNT, &identity, LegacyStatusCode::Failed, &[])
    }

    fn whole() -> String {
        format!(
            r#"{{"id":"tskEXAMPLE-7f31","type":"DLITE_CI_VM_INITIALIZE_TASK","data":  {DATA} ,"async":true,"runnerResponse":false,
            "timeout":600000,"logging":{{"token":"logtokEXAMPLE","abstractions":{{"orgId":"default","accountId":"x","n":1}}}},
            "delegate":{{"id":"dlgEXAMPLE42","instance_id":"instance-1","token":null}},"encryption_configs":{{}},
            "secrets":["hunter2",null,"",{{"a":1}},"hunter3"],"capabilities":[ {{"type":"x"}} ]}}"#
        )
    }

    #[test]
    fn a_task_keeps_its_bytes_and_gains_its_words() {
        let spec = spec_of(&whole());
        assert_eq!(spec.task_type.as_str(), "DLITE_CI_VM_INITIALIZE_TASK");
        assert_eq!((spec.kind, spec.priority), (Kind::SessionSetup, Priority::Normal));
        let payload = spec.payload.as_ref().unwrap();
        assert_eq!((&*payload.content_type, &payload.content[..]), ("application/json", DATA.as_bytes()));
        assert_eq!(spec.timeout, Some(Duration::from_secs(600)));
        assert_eq!((&*spec.tenant, Reply::decode(&spec.reply)), (ACCOUNT, Ok(Reply::A)));
        // The account is what the configuration says, whatever stands in the abstractions.
        let labels: Vec<_> = spec.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("accountId", ACCOUNT), ("orgId", "default")]);
        let masked: Vec<_> = spec.secrets.iter().map(|secret| (&secret.value[..], secret.mask_only)).collect();
        assert_eq!(masked, [(&b"hunter2"[..], true), (&b"hunter3"[..], true)]);
    }

    #[test]
    fn task_info_carries_what_a_handler_may_have_to_repeat() {
        let spec = spec_of(&whole());
        let [extension] = &spec.extensions[..] else { panic!("one extension") };
        assert_eq!(&*extension.name, "dlite.upstream.harness.v1.TaskInfo");
        let info = TaskInfo::decode(extension.value.clone()).unwrap();
        assert_eq!((&*info.account_id, &*info.delegate_id), (ACCOUNT, "dlgEXAMPLE42"));
        assert_eq!((&*info.delegate_instance_id, info.r#async, info.runner_response), ("instance-1", true, false));
        assert_eq!(info.timeout.unwrap().seconds, 600);
        // The order of the abstractions makes the log key.
        assert_eq!(&info.log_abstractions_json[..], br#"{"orgId":"default","accountId":"x","n":1}"#);
        assert_eq!(&info.capabilities_json[..], br#"[ {"type":"x"} ]"#);
    }

    #[test]
    fn a_waiting_caller_goes_first_and_a_missing_timeout_is_none() {
        let spec = spec_of(r#"{"type":"X","async":false,"runnerResponse":true,"timeout":0,"data":null}"#);
        assert_eq!((spec.kind, spec.priority, spec.timeout), (Kind::Standalone, Priority::High, None));
        assert_eq!(&spec.payload.unwrap().content[..], b"null");
        assert_eq!(Reply::decode(&spec.reply), Ok(Reply::B));
        assert_eq!(spec_of(r#"{"type":"X","timeout":-1}"#).timeout, None);
        assert!(spec_of(r#"{"type":"X","secrets":{"new":"form"}}"#).secrets.is_empty());
    }

    #[test]
    fn test_intelligence_travels_beside_the_payload_and_its_token_is_masked() {
        let data =
            r#"{"id":"s","setup_request":{"ti_config":{"url":"https://ti.example.test","token":"hush","sha":"1"}}}"#;
        let spec = spec_of(&format!(r#"{{"type":"CI_DOCKER_INITIALIZE_TASK","data":{data}}}"#));
        assert_eq!(&spec.payload.as_ref().unwrap().content[..], data.as_bytes());
        let [_, extension] = &spec.extensions[..] else { panic!("two extensions") };
        assert_eq!(*extension.name, *TestIntelligence::full_name());
        assert_eq!(TestIntelligence::decode(extension.value.clone()).unwrap().token, "hush");
        assert!(spec.secrets.iter().any(|secret| &secret.value[..] == b"hush" && secret.mask_only));
        assert!(!format!("{spec:?}").contains("hush"));
        assert_eq!(spec_of(&format!(r#"{{"type":"OTHER","data":{data}}}"#)).extensions.len(), 1);
    }
}
