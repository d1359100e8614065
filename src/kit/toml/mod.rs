//! The TOML file of a built-in runner: one text in, meant values or every complaint at once out.

mod section;
pub(crate) mod value;

use std::{path::Path, sync::Arc};

use crate::config::{Complaint, Complaints, FILE_BYTES_MAX, Source, read_text};

pub(crate) use self::{
    section::{Page, Section},
    value::Refusal,
};

/// What `read` makes of a configuration file, which it answers with `None` only after a complaint.
///
/// # Errors
/// Every mistake in it, each with its place, reason and fix.
pub(crate) fn load<T>(
    file: &Path,
    read: impl FnOnce(&Page, &mut Section<'_, '_>) -> Option<T>,
) -> Result<T, Complaints> {
    match read_text(file, FILE_BYTES_MAX) {
        Ok(text) => parse(&text, file, read),
        Err(reason) => {
            let source = Source::File(file.into());
            let fix = Some("name a readable TOML file by --config".to_owned());
            Err(Complaints::new(vec![Complaint { source, key: None, reason, fix, nearest: None }], Vec::new()))
        }
    }
}

/// As [`load`], of a text; `file` is how complaints call it.
///
/// # Errors
/// As [`load`].
pub(crate) fn parse<T>(
    text: &str,
    file: &Path,
    read: impl FnOnce(&Page, &mut Section<'_, '_>) -> Option<T>,
) -> Result<T, Complaints> {
    let page = Page::new(Arc::from(file), text);
    let config = page.document(text).and_then(|table| {
        let mut root = Section::new(&page, "", &table);
        let config = read(&page, &mut root);
        root.finish();
        config
    });
    let complaints = page.into_complaints();
    match config {
        Some(config) if complaints.is_empty() => Ok(config),
        _ => Err(Complaints::new(complaints, Vec::new())),
    }
}
