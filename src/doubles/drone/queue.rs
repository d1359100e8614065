//! Which stage a poll is offered (wire reference, 7). An offer changes nothing: the same stage is offered until somebody accepts it.

use super::{
    tables::Tables,
    wire::{Filter, Stage},
};

impl Tables {
    /// The stage of the lowest id that the filter may have.
    pub(super) fn next_for(&self, filter: &Filter) -> Option<&Stage> {
        if self.paused {
            return None;
        }
        self.open_stages().find(|stage| {
            stage.status == "pending" && stage.machine.is_empty() && matches(filter, stage) && self.has_room(stage)
        })
    }

    /// Whether the limits of its name and repository let the stage begin.
    fn has_room(&self, stage: &Stage) -> bool {
        let same_repo = || {
            let others = self.open_stages().filter(|other| matches!(&*other.status, "pending" | "running"));
            others.filter(|other| other.repo_id == stage.repo_id && other.id != stage.id)
        };
        let ahead = |other: &&Stage| other.id < stage.id || other.status == "running";
        let fits = |count: usize, most: i64| most == 0 || i64::try_from(count).is_ok_and(|count| count < most);
        fits(same_repo().filter(|other| other.name == stage.name).filter(ahead).count(), stage.limit)
            && fits(same_repo().filter(|other| other.id < stage.id).count(), stage.throttle)
    }
}

fn matches(filter: &Filter, stage: &Stage) -> bool {
    let or = |text: &'_ str, default: &'static str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let any_platform = [&filter.os, &filter.arch, &filter.variant, &filter.kernel].iter().all(|text| text.is_empty());
    let platform = any_platform
        || (filter.os == stage.os
            && filter.arch == stage.arch
            && (stage.variant.is_empty() || filter.variant == stage.variant)
            && (stage.kernel.is_empty() || filter.kernel == stage.kernel));
    or(&filter.kind, "pipeline") == or(&stage.kind, "pipeline")
        && or(&filter.stage_type, "docker") == or(&stage.stage_type, "docker")
        && platform
        && filter.labels == stage.labels
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::doubles::drone::options::{NewBuild, NewStage, Options};

    fn filter(os: &str, arch: &str) -> Filter {
        Filter {
            kind: "pipeline".into(),
            stage_type: "docker".into(),
            os: os.into(),
            arch: arch.into(),
            ..Filter::default()
        }
    }

    fn stage() -> Stage {
        Stage { os: "linux".into(), arch: "arm64".into(), variant: "v8".into(), ..Stage::default() }
    }

    #[test]
    fn a_platform_is_equal_or_not_asked_for() {
        let v8 = Filter { variant: "v8".into(), ..filter("linux", "arm64") };
        assert!(matches(&v8, &stage()) && matches(&filter("", ""), &stage()));
        assert!(!matches(&filter("linux", "arm64"), &stage()), "the stage names a variant");
        assert!(!matches(&filter("linux", ""), &stage()), "half a platform is another one");
        assert!(matches(&v8, &Stage { variant: String::new(), ..stage() }));
    }

    #[test]
    fn labels_are_the_same_or_nothing() {
        let labels = BTreeMap::from([("zone".to_owned(), "north".to_owned())]);
        let labelled = Filter { labels: labels.clone(), ..filter("", "") };
        assert!(
            !matches(&labelled, &stage()) && !matches(&filter("", ""), &Stage { labels: labels.clone(), ..stage() })
        );
        assert!(matches(&labelled, &Stage { labels, ..stage() }));
    }

    #[test]
    fn a_limit_lets_the_older_of_one_name_go_first() {
        let mut tables = Tables::new(&Options::new("t"));
        let new = || NewBuild::new(vec![NewStage { limit: 1, ..NewStage::new("unit", "docker") }]);
        let first = tables.submit(new()).unwrap().stages[0];
        let second = tables.submit(new()).unwrap().stages[0];
        assert_eq!(tables.next_for(&filter("", "")).unwrap().id, first);
        tables.record.stages.get_mut(&first).unwrap().row.machine = "m".into();
        assert!(tables.next_for(&filter("", "")).is_none());
        tables.record.stages.get_mut(&first).unwrap().row.status = "success".into();
        assert_eq!(tables.next_for(&filter("", "")).unwrap().id, second);
    }
}
