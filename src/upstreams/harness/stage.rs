//! The part a task plays in a stage, and which stage: by its type, and by a JSON pointer into its payload.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::core::{
    id::TaskType,
    session::EXTERNAL_ID_BYTES_MAX,
    task::{Kind, Spec},
};

/// The parts that CI tasks play in a stage, and where the payload names the stage; everything else stands alone.
const PARTS: [(&str, Kind, &str); 14] = [
    ("DLITE_CI_VM_INITIALIZE_TASK", Kind::SessionSetup, "/setup_vm_request/id"),
    ("DLITE_CI_VM_EXECUTE_TASK", Kind::SessionExecute, "/execute_step_request/stage_runtime_id"),
    ("DLITE_CI_VM_EXECUTE_TASK_V2", Kind::SessionExecute, "/execute_step_request/stage_runtime_id"),
    ("DLITE_CI_VM_CLEANUP_TASK", Kind::SessionCleanup, "/stage_runtime_id"),
    ("DLITE_CI_VM_CLEANUP_TASK_V2", Kind::SessionCleanup, "/stage_runtime_id"),
    ("CI_DOCKER_INITIALIZE_TASK", Kind::SessionSetup, "/id"),
    ("CI_DOCKER_EXECUTE_TASK", Kind::SessionExecute, "/stage_runtime_id"),
    ("CI_DOCKER_CLEANUP_TASK", Kind::SessionCleanup, "/id"),
    ("local_init", Kind::SessionSetup, "/network/id"),
    ("local_execute", Kind::SessionExecute, "/network"),
    ("local_cleanup", Kind::SessionCleanup, "/network"),
    ("vm_init", Kind::SessionSetup, "/metadata/stage_runtime_id"),
    ("vm_execute", Kind::SessionExecute, "/metadata/stage_runtime_id"),
    ("vm_cleanup", Kind::SessionCleanup, "/metadata/stage_runtime_id"),
];

/// Setups, and the cleanup that undoes each.
const CLEANUPS: [(&str, &str); 4] = [
    ("DLITE_CI_VM_INITIALIZE_TASK", "DLITE_CI_VM_CLEANUP_TASK"),
    ("CI_DOCKER_INITIALIZE_TASK", "CI_DOCKER_CLEANUP_TASK"),
    ("local_init", "local_cleanup"),
    ("vm_init", "vm_cleanup"),
];

/// Where payloads name their stage, by task type, beside what is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers(BTreeMap<String, String>);

// === impl Pointers ===

impl Pointers {
    /// Each `TYPE=/pointer`; the configuration's check has refused what is not.
    pub fn new(given: &[String]) -> Self {
        Self(given.iter().filter_map(|rule| rule.split_once('=')).map(|(of, at)| (of.into(), at.into())).collect())
    }

    /// Says which stage the task belongs to. One that stands alone by its type is a step of the stage it names, if it names one.
    pub(super) fn place(&self, spec: &mut Spec) {
        let built_in = PARTS.iter().find(|(name, ..)| *name == spec.task_type.as_str()).map(|(.., pointer)| *pointer);
        let Some(pointer) = self.0.get(spec.task_type.as_str()).map(String::as_str).or(built_in) else { return };
        spec.session = spec.payload.as_ref().and_then(|payload| name_at(&payload.content, pointer));
        if spec.session.is_some() && !spec.is_of_stage() {
            spec.kind = Kind::SessionExecute;
        }
    }
}

/// The text there, if it can name a stage.
fn name_at(content: &[u8], pointer: &str) -> Option<Arc<str>> {
    let value: Value = serde_json::from_slice(content).ok()?;
    let text = value.pointer(pointer)?.as_str()?;
    (1..=EXTERNAL_ID_BYTES_MAX).contains(&text.len()).then(|| text.into())
}

/// The part in a stage of the task types that are known to have one.
pub(super) fn kinds() -> impl Iterator<Item = (TaskType, Kind)> {
    PARTS.iter().map(|(name, kind, _)| (TaskType::from(*name), *kind))
}

pub(super) fn kind_of(task_type: &str) -> Kind {
    PARTS.iter().find(|(name, ..)| *name == task_type).map_or(Kind::Standalone, |(_, kind, _)| *kind)
}

pub(super) fn cleanup_of(task_type: &str) -> Option<TaskType> {
    CLEANUPS.iter().find(|(setup, _)| *setup == task_type).map(|(_, cleanup)| TaskType::from(*cleanup))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(task_type: &str, payload: &str, rules: &[&str]) -> (Kind, Option<Arc<str>>) {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let mut spec = Spec {
            payload: Some(crate::core::task::Payload {
                content_type: "application/json".into(),
                content: payload.as_bytes().to_vec().into(),
            }),
            ..Spec::new(task_type.into(), kind_of(task_type))
        };
        Pointers::new(&rules).place(&mut spec);
        (spec.kind, spec.session)
    }

    #[test]
    fn each_known_type_names_its_stage() {
        for (task_type, payload, kind) in [
            ("DLITE_CI_VM_INITIALIZE_TASK", r#"{"setup_vm_request":{"id":"s"}}"#, Kind::SessionSetup),
            (
                "DLITE_CI_VM_EXECUTE_TASK_V2",
                r#"{"execute_step_request":{"stage_runtime_id":"s"}}"#,
                Kind::SessionExecute,
            ),
            ("DLITE_CI_VM_CLEANUP_TASK_V2", r#"{"stage_runtime_id":"s"}"#, Kind::SessionCleanup),
            ("CI_DOCKER_INITIALIZE_TASK", r#"{"id":"s"}"#, Kind::SessionSetup),
            ("CI_DOCKER_EXECUTE_TASK", r#"{"id":"step","stage_runtime_id":"s"}"#, Kind::SessionExecute),
            ("CI_DOCKER_CLEANUP_TASK", r#"{"id":"s"}"#, Kind::SessionCleanup),
            ("local_init", r#"{"network":{"id":"s"}}"#, Kind::SessionSetup),
            ("local_execute", r#"{"network":"s"}"#, Kind::SessionExecute),
            ("vm_cleanup", r#"{"metadata":{"stage_runtime_id":"s"}}"#, Kind::SessionCleanup),
        ] {
            assert_eq!(named(task_type, payload, &[]), (kind, Some("s".into())), "{task_type}");
        }
    }

    #[test]
    fn the_stages_of_both_ci_families_are_told_by_type() {
        for (task_type, kind) in [
            ("DLITE_CI_VM_EXECUTE_TASK_V2", Kind::SessionExecute),
            ("CI_DOCKER_CLEANUP_TASK", Kind::SessionCleanup),
            ("DLITE_CI_VM_CAPACITY_TASK", Kind::Standalone),
        ] {
            assert_eq!(kind_of(task_type), kind, "{task_type}");
        }
    }

    #[test]
    fn what_is_no_name_names_no_stage() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(EXTERNAL_ID_BYTES_MAX + 1));
        for payload in ["{}", r#"{"id":7}"#, r#"{"id":""}"#, r#"{"id":null}"#, "no json", &long] {
            assert_eq!(named("CI_DOCKER_INITIALIZE_TASK", payload, &[]), (Kind::SessionSetup, None), "{payload}");
        }
    }

    #[test]
    fn a_configured_pointer_replaces_the_one_built_in_and_makes_steps_of_other_types() {
        let rules = ["CI_DOCKER_CLEANUP_TASK=/stage", "MY_STEP=/deep/1/id"];
        assert_eq!(named("CI_DOCKER_CLEANUP_TASK", r#"{"id":"a","stage":"b"}"#, &rules).1, Some("b".into()));
        let step = named("MY_STEP", r#"{"deep":[0,{"id":"c"}]}"#, &rules);
        assert_eq!(step, (Kind::SessionExecute, Some("c".into())));
        assert_eq!(named("MY_STEP", "{}", &rules), (Kind::Standalone, None));
    }

    #[test]
    fn every_setup_has_a_cleanup() {
        for (name, kind, _) in PARTS {
            assert_eq!(cleanup_of(name).is_some(), kind == Kind::SessionSetup, "{name}");
            if let Some(cleanup) = cleanup_of(name) {
                assert_eq!(kind_of(cleanup.as_str()), Kind::SessionCleanup, "{name}");
            }
        }
    }
}
