//! One table of the file, read key by key: what nobody asked for is unknown, what is wrong is complained of at its place.

use std::{cell::RefCell, ops::Range, path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::value::Refusal;
use crate::config::{Complaint, Source, nearest};

/// The file: it knows places and keeps the complaints.
pub(crate) struct Page {
    file: Arc<Path>,
    text: String,
    complaints: RefCell<Vec<Complaint>>,
}

/// A table on the page.
pub(crate) struct Section<'p, 't> {
    page: &'p Page,
    /// With a dot at its end, or empty.
    prefix: String,
    table: &'p DeTable<'t>,
    asked: Vec<String>,
}

// === impl Page ===

impl Page {
    pub fn new(file: Arc<Path>, text: &str) -> Self {
        Self { file, text: text.to_owned(), complaints: RefCell::default() }
    }

    /// The text as TOML; `None` with a complaint for each place that is none.
    pub fn document<'t>(&self, text: &'t str) -> Option<DeTable<'t>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let fix = "correct the TOML there: a key, =, and a value on one line; texts in double quotes";
            self.complain(error.span().unwrap_or_default(), None, format!("no TOML: {}", error.message()), fix);
        }
        errors.is_empty().then(|| document.into_inner())
    }

    pub fn is_clean(&self) -> bool {
        self.complaints.borrow().is_empty()
    }

    pub fn into_complaints(self) -> Vec<Complaint> {
        self.complaints.into_inner()
    }

    fn complain(&self, span: Range<usize>, key: Option<String>, reason: impl Into<String>, fix: impl Into<String>) {
        let source = self.source(span);
        self.push(Complaint { source, key, reason: reason.into(), fix: Some(fix.into()), nearest: None });
    }

    fn push(&self, complaint: Complaint) {
        self.complaints.borrow_mut().push(complaint);
    }

    fn source(&self, span: Range<usize>) -> Source {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Source::Line { file: self.file.clone(), line, column: before[line_start..].chars().count() + 1 }
    }
}

// === impl Section ===

impl<'p, 't> Section<'p, 't> {
    pub fn new(page: &'p Page, prefix: &str, table: &'p DeTable<'t>) -> Self {
        Self { page, prefix: prefix.to_owned(), table, asked: Vec::new() }
    }

    /// The value of `key`, if it is there and well.
    pub fn take<T>(&mut self, key: &str, parse: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>) -> Option<T> {
        self.asked.push(key.to_owned());
        let (_, value) = self.table.iter().find(|(known, _)| known.get_ref().as_ref() == key)?;
        match parse(value.get_ref()) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.page.complain(value.span(), Some(self.full(key)), refusal.reason, refusal.fix);
                None
            }
        }
    }

    /// As [`Section::take`]; its absence is a mistake.
    pub fn need<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
        fix: &str,
    ) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key.to_owned());
            self.complain_missing(key, "missing", fix);
            return None;
        }
        self.take(key, parse)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.keys().any(|known| known.get_ref().as_ref() == key)
    }

    /// A complaint about what is not there, placed at the section.
    pub fn complain_missing(&self, key: &str, reason: &str, fix: &str) {
        let start = self.table.keys().map(|key| key.span().start).min();
        match start.filter(|_| !self.prefix.is_empty()) {
            Some(start) => self.page.complain(start..start, Some(self.full(key)), reason, fix),
            None => {
                let source = Source::File(self.page.file.clone());
                let (key, fix) = (Some(self.full(key)), Some(fix.to_owned()));
                self.page.push(Complaint { source, key, reason: reason.to_owned(), fix, nearest: None });
            }
        }
    }

    /// A complaint about the value of `key`, which is there.
    pub fn complain(&self, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        let found = self.table.iter().find(|(known, _)| known.get_ref().as_ref() == key);
        let span = found.map(|(_, value)| value.span()).unwrap_or_default();
        self.page.complain(span, Some(self.full(key)), reason, fix);
    }

    /// The table under `key`, read by `read`; `None` if there is none.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> Option<T> {
        self.asked.push(key.to_owned());
        let (name, value) = self.table.iter().find(|(known, _)| known.get_ref().as_ref() == key)?;
        let Some(table) = value.get_ref().as_table() else {
            let path = self.full(key);
            self.page.complain(
                name.span(),
                Some(path.clone()),
                "a section, not a value",
                format!("write [{path}] above its keys"),
            );
            return None;
        };
        let mut section = Section::new(self.page, &format!("{}.", self.full(key)), table);
        let value = read(&mut section);
        section.finish();
        Some(value)
    }

    /// Every table in this one, by its name.
    pub fn each(&mut self, count_max: usize, mut read: impl FnMut(&str, &mut Section<'_, '_>)) {
        let names: Vec<String> = self.table.keys().map(|key| key.get_ref().as_ref().to_owned()).collect();
        if let Some(name) = names.get(count_max) {
            self.complain(name, format!("{} of them", names.len()), format!("use at most {count_max} in one runner"));
        }
        for name in names.iter().take(count_max) {
            self.section(name, |section| read(name, section));
        }
        self.asked.extend(names);
    }

    /// Complains of every key that nobody asked for.
    pub fn finish(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.iter().any(|asked| asked == name) {
                self.page.push(Complaint {
                    source: self.page.source(key.span()),
                    key: Some(self.full(name)),
                    reason: "unknown key".to_owned(),
                    fix: Some("correct or remove it".to_owned()),
                    nearest: nearest(name, &self.asked).map(|near| self.full(&near)),
                });
            }
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}
