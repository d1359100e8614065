//! Task type and labels of a handler as a poll's filter, and of an offer the other way round.
//!
//! | in a filter or stage | task type or label |
//! |---|---|
//! | `type` | `drone.stage.<type>` |
//! | `os`, `arch`, `variant`, `kernel` | labels of the same names |
//! | `labels` | `node.<name>` |
//!
//! A server gives a stage with labels only to a filter with the very same, and one without platform only to a filter without or with
//! its own; so the labels that a handler matches make the filter, and what it leaves out is not asked for. A handler that matches a
//! label which no filter can ask for is not polled for.

use std::collections::BTreeMap;

use super::wire;
use crate::core::{effect::Wanted, id::TaskType, input::Listed, task::Kind};

/// How the task types of stages begin.
pub const TASK_TYPE_PREFIX: &str = "drone.stage.";
/// How the labels begin that a pipeline asks for by `node`.
pub const LABEL_NODE_PREFIX: &str = "node.";

/// What the server takes for the type of a pipeline that names none.
const DEFAULT_TYPE: &str = "docker";

/// The filter of a poll for such tasks; none: they are no stages, or no filter can tell them.
pub(super) fn filter(wanted: &Wanted) -> Option<wire::Filter> {
    let stage_type = wanted.task_type.as_str().strip_prefix(TASK_TYPE_PREFIX).filter(|name| !name.is_empty())?;
    let mut filter = wire::Filter { kind: wire::KIND, stage_type: stage_type.to_owned(), ..wire::Filter::default() };
    for (key, value) in &wanted.labels {
        match key.as_str() {
            "os" => filter.os.clone_from(value),
            "arch" => filter.arch.clone_from(value),
            "variant" => filter.variant.clone_from(value),
            "kernel" => filter.kernel.clone_from(value),
            key => {
                filter.labels.insert(key.strip_prefix(LABEL_NODE_PREFIX)?.to_owned(), value.clone());
            }
        }
    }
    Some(filter)
}

/// An offer as the core lists it.
pub(super) fn listed(offer: &wire::Stage) -> Listed {
    Listed {
        external_id: offer.id().external(),
        task_type: task_type(&offer.stage_type),
        kind: Kind::Pipeline,
        labels: Some(labels(offer)),
        unsupported: false,
    }
}

pub(super) fn task_type(stage_type: &str) -> TaskType {
    let stage_type = if stage_type.is_empty() { DEFAULT_TYPE } else { stage_type };
    format!("{TASK_TYPE_PREFIX}{stage_type}").as_str().into()
}

/// What handlers can match.
pub(super) fn labels(stage: &wire::Stage) -> BTreeMap<String, String> {
    let platform = [("os", &stage.os), ("arch", &stage.arch), ("variant", &stage.variant), ("kernel", &stage.kernel)];
    let platform = platform.into_iter().filter(|(_, value)| !value.is_empty());
    let node = stage.labels.iter().map(|(key, value)| (format!("{LABEL_NODE_PREFIX}{key}"), value.clone()));
    platform.map(|(key, value)| (key.to_owned(), value.clone())).chain(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(task_type: &str, labels: &[(&str, &str)]) -> Wanted {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Wanted { task_type: task_type.into(), labels: labels.collect() }
    }

    #[test]
    fn a_handlers_type_and_labels_are_its_filter() {
        let labels = [("os", "linux"), ("arch", "arm64"), ("variant", "v8"), ("node.zone", "north")];
        let filter = filter(&wanted("drone.stage.exec", &labels)).unwrap();
        let body = serde_json::to_string(&filter).unwrap();
        assert_eq!(
            body,
            r#"{"kind":"pipeline","type":"exec","os":"linux","arch":"arm64","variant":"v8","kernel":"","labels":{"zone":"north"}}"#
        );
    }

    #[test]
    fn what_no_filter_can_ask_for_is_not_polled_for() {
        assert!(filter(&wanted("DLITE_CI_VM_EXECUTE_TASK", &[])).is_none());
        assert!(filter(&wanted("drone.stage.", &[])).is_none());
        assert!(filter(&wanted("drone.stage.exec", &[("repo", "acme/kettle")])).is_none());
    }

    #[test]
    fn an_offer_fits_the_handler_whose_filter_brought_it() {
        let offer: wire::Stage = serde_json::from_str(
            r#"{"id":9104,"build_id":5521,"type":"exec","os":"linux","arch":"arm64","labels":{"zone":"north"}}"#,
        )
        .unwrap();
        let listed = listed(&offer);
        assert_eq!((listed.external_id.as_str(), listed.task_type.as_str()), ("5521/9104", "drone.stage.exec"));
        let labels = listed.labels.unwrap();
        assert_eq!(
            (&*labels["os"], &*labels["arch"], &*labels["node.zone"], labels.len()),
            ("linux", "arm64", "north", 3)
        );
    }
}
