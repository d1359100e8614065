//! `docs/metrics.md`, written from the table of metrics.

use super::{
    definitions::{DEFINITIONS, Kind},
    labels::{OTHER, TASK_TYPES_MAX},
};

/// The page, as it is shipped.
pub fn page() -> String {
    let mut text = format!(
        "# Metrics\n\n\
         The delegate tells them at `http://127.0.0.1:9464/metrics` (`http.listen`), and sends them by OTLP if `metrics.endpoint` is \
         set: the same names, units and labels on both ways. Gauges of the state are read once a second at most, however often they \
         are fetched.\n\n\
         The number of series is bounded: `upstream` has the names of the configuration, `task_type` the first {TASK_TYPES_MAX} types \
         and \"{OTHER}\" for all further ones, every other label only words of the delegate.\n\n\
         `packaging/grafana-dashboard.json` shows them, `packaging/alerts.yml` watches them.\n\n\
         | metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n"
    );
    for metric in DEFINITIONS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.word(),
            metric.unit.word(),
            labels.join(", "),
            metric.meaning
        ));
    }
    text.push_str("\n## Buckets\n\nUpper bounds in seconds.\n\n");
    for metric in DEFINITIONS {
        if let Kind::Histogram(bounds) = metric.kind {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            text.push_str(&format!("* `{}`: {}\n", metric.name, bounds.join(", ")));
        }
    }
    text
}
