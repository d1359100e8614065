//! The lowest layer: the TOML file, every value with its line and column.
//!
//! It reads the shape (which key is a section, which an option) and leaves the values to `value`.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    complaint::Complaint,
    layer::{Given, Layers, Scope},
    nearest::nearest,
    options::{self, UPSTREAMS_MAX, keys},
    source::Source,
    value::Raw,
};

/// Largest file; far above any real one, so that a wrong path (a log, a device) is refused before it fills the memory.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file into `layers`, which are empty.
pub(super) fn read(path: &Path, layers: &mut Layers, complaints: &mut Vec<Complaint>) {
    let file: Arc<Path> = path.into();
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => Reader::new(file, &text, complaints).document(layers),
        Err(reason) => {
            layers.incomplete = true;
            complaints
                .push(Complaint::general(Source::File(file), reason).fix("name a readable TOML file by --config"));
        }
    }
}

/// The whole of a text file of at most `bytes_max`, or why not, to follow its path.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if text.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    Ok(text)
}

struct Reader<'a> {
    file: Arc<Path>,
    text: &'a str,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    complaints: &'a mut Vec<Complaint>,
}

impl<'a> Reader<'a> {
    fn new(file: Arc<Path>, text: &'a str, complaints: &'a mut Vec<Complaint>) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { file, text, lines, complaints }
    }

    fn document(&mut self, layers: &mut Layers) {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        layers.incomplete = !errors.is_empty();
        for error in errors {
            // Its message only: its `Display` shows the line, which may hold a secret.
            let source = error.span().map_or_else(|| Source::File(self.file.clone()), |span| self.source(span));
            let reason = format!("not TOML: {}", error.message());
            self.complaints.push(Complaint::general(source, reason));
        }
        for (key, value) in document.get_ref() {
            if key.get_ref() == "upstreams" {
                self.upstreams(key, value, layers);
            } else {
                self.entry("", key, value, &mut layers.global);
            }
        }
    }

    fn upstreams(&mut self, key: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>, layers: &mut Layers) {
        let tables: Option<Vec<_>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().map(|item| Some((item.span(), item.get_ref().as_table()?))).collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            let complaint = Complaint::new(self.source(key.span()), key.get_ref().as_ref(), "not a list of tables");
            self.complaints.push(complaint.fix("write [[upstreams]], in two pairs of brackets, above each upstream"));
            layers.incomplete = true;
            return;
        };
        let count = tables.len();
        if let Some((span, _)) = tables.get(UPSTREAMS_MAX) {
            let fix = format!("use at most {UPSTREAMS_MAX} in one process");
            self.complain("upstreams", span.clone(), &format!("{count} of them"), fix);
        }
        for (span, table) in tables.into_iter().take(UPSTREAMS_MAX) {
            let mut scope = Scope::at(self.source(span));
            self.table("upstreams[].", table, &mut scope);
            layers.upstreams.push(scope);
        }
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, scope: &mut Scope) {
        for (key, value) in table {
            self.entry(prefix, key, value, scope);
        }
    }

    /// One key of the table whose keys begin with `prefix`.
    fn entry(&mut self, prefix: &str, key: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>, scope: &mut Scope) {
        let path = format!("{prefix}{}", key.get_ref().as_ref());
        let section = format!("{path}.");
        if let Some(option) = options::find(&path) {
            let source = self.source(value.span());
            scope.put(option, Given { raw: raw(value.get_ref()), source });
        } else if keys().any(|known| known.starts_with(&section)) {
            match value.get_ref() {
                DeValue::Table(table) => self.table(&section, table, scope),
                _ => self.complain(
                    &path,
                    key.span(),
                    "a section, not a value",
                    format!("write [{path}] above its options"),
                ),
            }
        } else {
            // Candidates of the same kind only: no upstream has a `runners.lease_ttl`.
            let in_upstream = prefix.starts_with("upstreams[]");
            let candidates = keys().filter(|known| known.starts_with("upstreams[]") == in_upstream);
            let complaint = Complaint::new(self.source(key.span()), path.clone(), "unknown key");
            self.complaints.push(complaint.nearest(nearest(&path, candidates)).fix("correct or remove it"));
        }
    }

    fn complain(&mut self, key: &str, span: Range<usize>, reason: &str, fix: String) {
        self.complaints.push(Complaint::new(self.source(span), key, reason).fix(fix));
    }

    fn source(&self, span: Range<usize>) -> Source {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.start).map_or(0, |before| before.chars().count()) + 1;
        Source::Line { file: self.file.clone(), line, column }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => Raw::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => list(items),
        DeValue::Float(float) => Raw::Float(float.as_str().to_owned()),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn list(items: &DeArray<'_>) -> Raw {
    Raw::List(items.iter().map(|item| raw(item.get_ref())).collect())
}
