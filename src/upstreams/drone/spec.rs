//! A stage's details in the core's words. Pure: the same answer gives the same spec.
//!
//! The payload is the answer byte for byte; what is read of it here is read twice, by us and by the handler.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use super::{
    filter::{labels, task_type},
    note::Note,
    wire::{self, Details},
};
use crate::{
    core::task::{Extension, Kind, Payload, Secret, Spec},
    proto::upstream::drone::v1::StageInfo,
};

/// Media type of the payload: a details answer of the runner protocol.
pub const CONTENT_TYPE: &str = "application/vnd.drone.runner.v1+json";
/// Name of the extension that each stage carries.
pub const STAGE_INFO: &str = "dlite.upstream.drone.v1.StageInfo";

/// A stage's time where the repository names none: what the server sets when it enables one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Values to mask taken from details, and their size in bytes: as many as a runner is promised at most.
const SECRETS_MAX: usize = 256;
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// What the core is to know of a stage that is ours. `stage` is its row as the server gave it last.
///
/// Details that can't be used make a spec all the same, of a task that is answered at once: nobody else will close the stage.
pub(super) fn spec(stage: &wire::Stage, note: Note, details: Result<&Bytes, String>) -> Spec {
    let read = details.and_then(|bytes| Ok((bytes, read(bytes)?)));
    match read {
        Ok((bytes, details)) => Spec {
            payload: Some(Payload { content_type: CONTENT_TYPE.into(), content: bytes.clone() }),
            secrets: secrets(&details),
            extensions: vec![Extension {
                name: STAGE_INFO.into(),
                value: info(stage, &details).encode_to_vec().into(),
            }],
            tenant: details.repository.as_ref().map_or("", |repo| &repo.slug).into(),
            timeout: Some(timeout(&details)),
            ..bare(stage, &note)
        },
        Err(trouble) => {
            let unsupported = Some(Arc::from(format!("the stage's details: {trouble}")));
            Spec { unsupported, ..bare(stage, &Note { trouble: Some(trouble), ..note }) }
        }
    }
}

/// What is known without details.
fn bare(stage: &wire::Stage, note: &Note) -> Spec {
    Spec { labels: labels(stage), reply: note.encode(), ..Spec::new(task_type(&stage.stage_type), Kind::Pipeline) }
}

/// Runners take these four for granted.
fn read(bytes: &Bytes) -> Result<Details<'_>, String> {
    let details: Details<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("no json as due, broken at line {}, column {}", error.line(), error.column()))?;
    let missing = [
        ("build", details.build.is_none()),
        ("repository", details.repository.is_none()),
        ("config", details.config.is_none()),
        ("system", details.system.is_none()),
    ];
    match missing.iter().find(|(_, missing)| *missing) {
        Some((name, _)) => Err(format!("{name} is missing")),
        None => Ok(details),
    }
}

fn timeout(details: &Details<'_>) -> Duration {
    let minutes = details.repository.as_ref().map_or(0, |repo| repo.timeout);
    match u64::try_from(minutes) {
        Ok(minutes) if minutes > 0 => Duration::from_secs(minutes.saturating_mul(60)),
        _ => TIMEOUT_DEFAULT,
    }
}

/// Everything in the payload that must not show in a log.
fn secrets(details: &Details<'_>) -> Vec<Secret> {
    let named = details.secrets.iter().flatten().map(|secret| (&*secret.name, &*secret.data));
    let netrc = details.netrc.iter().map(|netrc| ("netrc", &*netrc.password));
    let key = details.repository.iter().map(|repo| ("repository", repo.secret.as_str()));
    let usable = key.chain(netrc).chain(named).filter(|(_, data)| !data.is_empty() && data.len() <= SECRET_BYTES_MAX);
    usable
        .take(SECRETS_MAX)
        .map(|(name, data)| Secret {
            name: name.into(),
            value: Bytes::copy_from_slice(data.as_bytes()),
            mask_only: true,
        })
        .collect()
}

fn info(stage: &wire::Stage, details: &Details<'_>) -> StageInfo {
    let labels: BTreeMap<String, String> = stage.labels.clone();
    StageInfo {
        stage_id: stage.id,
        build_id: stage.build_id,
        build_number: details.build.as_ref().map_or(0, |build| build.number),
        repo_slug: details.repository.as_ref().map_or_else(String::new, |repo| repo.slug.clone()),
        stage_name: stage.name.clone(),
        kind: stage.kind.clone(),
        r#type: stage.stage_type.clone(),
        os: stage.os.clone(),
        arch: stage.arch.clone(),
        variant: stage.variant.clone(),
        kernel: stage.kernel.clone(),
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = r#"{"id":9104,"build_id":5521,"name":"unit","kind":"pipeline","type":"exec","os":"linux","arch":"amd64",
        "status":"pending","machine":"m1-1","version":2,"labels":{"zone":"north"}}"#;

    fn spec_of(details: Result<&str, &str>) -> Spec {
        let stage: wire::Stage = serde_json::from_str(STAGE).unwrap();
        let bytes = details.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        spec(&stage, Note::of(STAGE.as_bytes()).unwrap(), bytes.as_ref().map_err(|error| (*error).to_owned()))
    }

    fn details(rest: &str) -> String {
        format!(
            r#"{{ "build":{{"id":5521,"number":41}}, "config":{{"Data":"eA==","Hash":null}}, "system":{{}}, {rest} }}"#
        )
    }

    #[test]
    fn details_are_passed_on_byte_for_byte_and_their_secrets_are_listed_to_be_masked() {
        let text = details(
            r#""repository":{"slug":"acme/kettle","timeout":5,"secret":"key-of-repo"},"netrc":{"password":"tok-git"},
               "secrets":[{"name":"pw","data":"hunter2"},{"name":"none","data":null}]"#,
        );
        let spec = spec_of(Ok(&text));
        let payload = spec.payload.unwrap();
        assert_eq!((&*payload.content_type, &payload.content[..]), (CONTENT_TYPE, text.as_bytes()));
        let masked: Vec<_> =
            spec.secrets.iter().map(|secret| (&*secret.name, &secret.value[..], secret.mask_only)).collect();
        assert_eq!(
            masked,
            [("repository", &b"key-of-repo"[..], true), ("netrc", b"tok-git", true), ("pw", b"hunter2", true)]
        );
        assert_eq!(
            (&*spec.tenant, spec.timeout, spec.kind),
            ("acme/kettle", Some(Duration::from_secs(300)), Kind::Pipeline)
        );
        assert_eq!((spec.task_type.as_str(), &*spec.labels["node.zone"]), ("drone.stage.exec", "north"));
        let info = StageInfo::decode(spec.extensions[0].value.clone()).unwrap();
        assert_eq!(
            (info.stage_id, info.build_id, info.build_number, &*info.repo_slug),
            (9104, 5521, 41, "acme/kettle")
        );
        assert_eq!(spec.unsupported, None);
    }

    #[test]
    fn a_repository_without_a_timeout_has_the_servers_own() {
        assert_eq!(spec_of(Ok(&details(r#""repository":{"timeout":0}"#))).timeout, Some(TIMEOUT_DEFAULT));
    }

    #[test]
    fn details_that_cannot_be_used_are_answered_and_not_silent() {
        for (given, says) in
            [(Ok("no json"), "line 1"), (Ok("{}"), "build is missing"), (Err("500: no forge"), "no forge")]
        {
            let spec = spec_of(given);
            assert!(spec.unsupported.as_deref().unwrap().contains(says), "{spec:?}");
            assert!(spec.payload.is_none() && Note::decode(&spec.reply).unwrap().trouble.unwrap().contains(says));
        }
    }
}
