//! A probe's requests, and a strict reader of the Prometheus text format.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::patiently;

/// The status and body of one GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    patiently(async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: dlite\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, body.to_owned())
    })
    .await
}

/// What `/metrics` says, read strictly.
pub async fn metrics(address: SocketAddr) -> Page {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    Page::read(&text)
}

/// A page that kept all rules.
#[derive(Debug, Default)]
pub struct Page {
    pub families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
pub struct Family {
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

// === impl Page ===

impl Page {
    /// Panics at the first line that breaks a rule.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut page = Self::default();
        let mut current: Option<String> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(is_metric_name(name), "{line}");
                let family = Family { help: unescape(help, false), ..Family::default() };
                assert!(page.families.insert(name.to_owned(), family).is_none(), "a second HELP: {line}");
                current = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(current.as_deref(), Some(name), "TYPE follows its HELP: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = page.families.get_mut(name).expect("its HELP came first");
                assert!(family.kind.is_empty() && family.samples.is_empty(), "a second or late TYPE: {line}");
                family.kind = kind.to_owned();
            } else {
                assert!(!line.is_empty() && !line.starts_with('#'), "neither sample nor HELP nor TYPE: {line:?}");
                let sample = Sample::read(line);
                let name = current.clone().unwrap_or_else(|| panic!("a sample without a family: {line}"));
                let family = page.families.get_mut(&name).expect("it is current");
                assert!(family.owns(&name, &sample.name), "not of the family {name}: {line}");
                family.samples.push(sample);
            }
        }
        for (name, family) in &page.families {
            family.check(name);
        }
        page
    }

    /// The value of the one sample with these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:?}", self.families.get(name)))
    }

    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let base = ["_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let family = self.families.get(name).or_else(|| self.families.get(base))?;
        let wanted = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        family.samples.iter().find(|sample| sample.name == name && sample.labels == wanted).map(|sample| sample.value)
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    pub fn series(&self) -> usize {
        self.families.values().map(|family| family.samples.len()).sum()
    }

    /// Values that a label has anywhere.
    pub fn label_values(&self, key: &str) -> BTreeSet<&str> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.filter_map(|sample| sample.labels.get(key)).map(String::as_str).collect()
    }
}

// === impl Family ===

impl Family {
    fn owns(&self, name: &str, sample: &str) -> bool {
        match self.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| sample.strip_suffix(end) == Some(name)),
            _ => sample == name,
        }
    }

    fn check(&self, name: &str) {
        assert!(!self.kind.is_empty(), "{name} has no TYPE");
        assert!(!self.help.is_empty(), "{name} has no HELP");
        let unique: BTreeSet<String> =
            self.samples.iter().map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect();
        assert_eq!(unique.len(), self.samples.len(), "{name} has the same series twice");
        for sample in &self.samples {
            let is_bucket = sample.name.ends_with("_bucket") && self.kind == "histogram";
            assert_eq!(sample.labels.contains_key("le"), is_bucket, "{sample:?}");
            assert!(self.kind == "gauge" || sample.value >= 0.0, "{sample:?}");
        }
        if self.kind == "histogram" {
            self.check_buckets(name);
        }
    }

    fn check_buckets(&self, name: &str) {
        let mut histograms: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for bucket in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = bucket.labels.clone();
            let bound = labels.remove("le").map(|bound| number(&bound)).expect("a bound");
            histograms.entry(format!("{labels:?}")).or_default().push((bound, bucket.value));
        }
        let ends = |end: &str| self.samples.iter().filter(|sample| sample.name == format!("{name}{end}")).count();
        assert_eq!((ends("_sum"), ends("_count")), (histograms.len(), histograms.len()), "{name}");
        for count in self.samples.iter().filter(|sample| sample.name == format!("{name}_count")) {
            let buckets = &histograms[&format!("{:?}", count.labels)];
            assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{name}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count.value)), "{name}: +Inf is the count");
        }
    }
}

// === impl Sample ===

impl Sample {
    fn read(line: &str) -> Self {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
        let (name, mut rest) = line.split_at(end);
        assert!(is_metric_name(name), "{line}");
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("a label: {line}"));
                assert!(is_label_name(key), "{line}");
                let close = closing_quote(after).unwrap_or_else(|| panic!("an open label: {line}"));
                let value = unescape(&after[..close], true);
                assert!(labels.insert(key.to_owned(), value).is_none(), "a label twice: {line}");
                rest = &after[close + 1..];
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
        Self { name: name.to_owned(), labels, value: number(value) }
    }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        text => text.parse().unwrap_or_else(|_| panic!("no number: {text:?}")),
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut letters = text.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('\\') => plain.push('\\'),
                Some('n') => plain.push('\n'),
                Some('"') if quotes => plain.push('"'),
                other => panic!("no escape: {other:?} in {text:?}"),
            },
            letter => plain.push(letter),
        }
    }
    plain
}

fn is_metric_name(name: &str) -> bool {
    let first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    name.starts_with(first) && name.chars().all(|letter| first(letter) || letter.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    !name.contains(':') && is_metric_name(name)
}

#[test]
fn the_reader_reads_escapes_and_refuses_what_breaks_a_rule() {
    let head = "# HELP a a \\\\ b\n# TYPE a gauge\n";
    let page = Page::read(&format!("{head}a{{b=\"q\\\"\\\\\\n\",c=\"\"}} 1.5e3\n"));
    assert_eq!(page.families["a"].help, "a \\ b");
    assert_eq!(page.value("a", &[("b", "q\"\\\n"), ("c", "")]), 1500.0);
    let histogram =
        "# HELP h h\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 3\n";
    for bad in [
        "a 1\n".to_owned(),
        format!("{head}a 1\na 2\n"),
        format!("{head}a one\n"),
        format!("{head}{head}"),
        format!("{head}b 1\n"),
        format!("{head}a{{b=\"1}} 1\n"),
        format!("{head}a{{b=\"\\x\"}} 1\n"),
        histogram.to_owned(),
        histogram.replace("h_count 3", "h_count 2").replace("le=\"1\"} 2", "le=\"1\"} 3"),
    ] {
        assert!(std::panic::catch_unwind(|| Page::read(&bad)).is_err(), "{bad}");
    }
    Page::read(&histogram.replace("h_count 3", "h_count 2"));
}
