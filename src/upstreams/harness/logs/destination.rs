//! Where a task says that its log goes.
//!
//! | family | address and token | key |
//! |---|---|---|
//! | legacy | `log_config` of the setup or step request within the payload | `log_key` beside it |
//! | runner | `logger` of the task, kept as an extension, [`LOGGER`] | `logger.key` |

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::core::task::Spec;

/// Name of the extension that holds a runner task's `logger`, JSON as received.
pub(in super::super) const LOGGER: &str = "dlite.upstream.harness.Logger";
/// A larger one stays out: it has some ten short members, and masks that are kept as secrets.
pub(in super::super) const LOGGER_BYTES_MAX: usize = 16 << 10;

/// Longer ones are no log services.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Objects within a payload that are looked into, in this order; deeper ones are the handler's own.
const REQUESTS: [&[&str]; 7] = [
    &["setup_vm_request", "setup_request"],
    &["execute_step_request", "start_step_request"],
    &["setup_vm_request"],
    &["execute_step_request"],
    &["setup_request"],
    &["start_step_request"],
    &[],
];

/// One log at a log service. Does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Destination {
    /// Without a slash at its end.
    pub url: String,
    pub token: String,
    pub account: String,
    pub key: String,
    /// Uploaded to the service itself, not by a link. The field's name at the upstream, `indirect_upload`, says the opposite of what
    /// it means.
    pub is_direct: bool,
    /// Lines go without their newline.
    pub trims_newline: bool,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default, alias = "address")]
    url: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, alias = "account")]
    account_id: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    indirect_upload: Option<bool>,
    #[serde(default)]
    trim_new_line_suffix: Option<bool>,
}

/// The destination of a step's log; `None`: the task names none.
pub(super) fn of_task(task: &Spec, step_id: &str, account: &str) -> Option<Destination> {
    let payload = task.payload.as_ref().map_or(&b""[..], |payload| &payload.content);
    let logger = task.extensions.iter().find(|extension| *extension.name == *LOGGER);
    let mut config = logger.and_then(|logger| serde_json::from_slice::<Config>(&logger.value).ok());
    let mut key = None;
    for path in REQUESTS {
        let Some(members) = object(payload, path) else { continue };
        let member = |name: &str| members.get(name).map(|raw| raw.get());
        config = config.or_else(|| serde_json::from_str::<Option<Config>>(member("log_config")?).ok().flatten());
        key = key.or_else(|| serde_json::from_str::<Option<String>>(member("log_key")?).ok().flatten());
    }
    let config = config?;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX);
    let key = text(config.key).or(text(key))?;
    // The task's own log has the task's key; a step that has one of its own says so by its name.
    let key = if step_id.is_empty() { key } else { format!("{key}/step:{step_id}") };
    Some(Destination {
        url: text(config.url)?.trim_end_matches('/').to_owned(),
        token: text(config.token)?,
        account: text(config.account_id).unwrap_or_else(|| account.to_owned()),
        key,
        is_direct: config.indirect_upload.unwrap_or(false),
        trims_newline: config.trim_new_line_suffix.unwrap_or(false),
    })
}

/// The members of the object at `path`.
fn object<'a>(content: &'a [u8], path: &[&str]) -> Option<BTreeMap<Cow<'a, str>, &'a RawValue>> {
    let mut members: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_slice(content).ok()?;
    for name in path {
        members = serde_json::from_str(members.get(*name)?.get()).ok()?;
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::task::{Kind, Payload};

    fn task(payload: &str) -> Spec {
        let payload = Payload { content_type: Arc::from("application/json"), content: payload.to_owned().into() };
        Spec { payload: Some(payload), ..Spec::new("CI".into(), Kind::Standalone) }
    }

    #[test]
    fn both_families_name_it_and_the_flag_means_its_opposite() {
        let setup = r#"{"setup_vm_request":{"id":"s","log_key":"k:1/x","setup_request":{"log_config":{"url":"https://logs.example.test/","token":"tok","account_id":"acct","indirect_upload":true}}}}"#;
        let found = of_task(&task(setup), "", "other").unwrap();
        let Destination { url, token, account, key, is_direct, trims_newline } = found;
        assert_eq!(
            (url.as_str(), token.as_str(), account.as_str(), key.as_str()),
            ("https://logs.example.test", "tok", "acct", "k:1/x")
        );
        assert!(is_direct && !trims_newline);
        let logger = br#"{"address":"http://l","token":"tok","key":"k","account":"a","indirect_upload":false}"#;
        let mut task = task("not json");
        let value = bytes::Bytes::from_static(logger);
        task.extensions.push(crate::core::task::Extension { name: LOGGER.into(), value });
        let found = of_task(&task, "compile", "other").unwrap();
        assert_eq!((found.key.as_str(), found.is_direct), ("k/step:compile", false));
    }

    #[test]
    fn a_task_without_an_address_or_key_has_none() {
        for payload in [
            "{}",
            "[]",
            "no json",
            r#"{"log_key":"k"}"#,
            r#"{"log_key":"k","log_config":null}"#,
            r#"{"log_key":"k","log_config":{"url":"","token":"t"}}"#,
            r#"{"log_config":{"url":"http://l","token":"t"}}"#,
            r#"{"log_key":"k","log_config":{"url":"http://l"}}"#,
        ] {
            assert!(of_task(&task(payload), "", "a").is_none(), "{payload}");
        }
    }
}
