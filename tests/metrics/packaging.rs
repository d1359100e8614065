//! What is shipped names no metric that does not exist, and the page of metrics is the table.

use std::collections::BTreeSet;

use dlite::telemetry::metrics::{
    definitions::{DEFINITIONS, Kind},
    docs,
};

fn shipped(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every word that is the name of a metric or of a histogram's series.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("dlite_"))
        .map(str::to_owned)
        .collect()
}

fn known() -> BTreeSet<String> {
    let series = |name: &str, kind| match kind {
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
        Kind::Counter | Kind::Gauge => vec![name.to_owned()],
    };
    DEFINITIONS.iter().flat_map(|metric| series(metric.name, metric.kind)).collect()
}

/// `DLITE_BLESS=1` writes the page anew after a change of the table.
#[test]
fn the_page_of_metrics_is_the_one_made_from_the_table() {
    if std::env::var_os("DLITE_BLESS").is_some() {
        std::fs::write(format!("{}/docs/metrics.md", env!("CARGO_MANIFEST_DIR")), docs::page()).expect("written");
    }
    assert_eq!(shipped("docs/metrics.md"), docs::page(), "run the test with DLITE_BLESS=1 after a change of the table");
}

#[test]
fn the_table_names_each_metric_once_by_the_rules_of_names() {
    let unique: BTreeSet<&str> = DEFINITIONS.iter().map(|metric| metric.name).collect();
    assert_eq!(unique.len(), DEFINITIONS.len());
    for metric in DEFINITIONS {
        let name = metric.name;
        assert!(name.starts_with("dlite_") && name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_'));
        assert_eq!(metric.unit.word() == "seconds", name.ends_with("_seconds"), "{name} ends with its unit");
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{name}");
        }
    }
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_exist() {
    for file in ["packaging/grafana-dashboard.json", "packaging/alerts.yml"] {
        let named = names(&shipped(file));
        assert!(named.len() > 5, "{file} watches something");
        assert_eq!(named.difference(&known()).collect::<Vec<_>>(), Vec::<&String>::new(), "{file}");
    }
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&shipped("packaging/grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(targets.iter().all(|target| !names(target["expr"].as_str().expect("a query")).is_empty()), "{panel}");
    }
}

#[test]
fn the_unit_has_a_watchdog_and_waits_for_ready() {
    let unit = shipped("packaging/dlite.service");
    for line in ["Type=notify", "WatchdogSec=30s", "NotifyAccess=main"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}
