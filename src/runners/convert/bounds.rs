//! The contract's general bounds: ids, names, texts, lists, maps, durations. A broken one names the field.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

const ID_BYTES_MAX: usize = 64;
pub(super) const NAME_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 4 << 10;
const MAP_MAX: usize = 64;
const MAP_VALUE_BYTES_MAX: usize = 1 << 10;

/// A bound that a peer broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Broken {
    pub field: String,
    pub what: String,
}

pub(super) fn broken(field: &str, what: &str) -> Broken {
    Broken { field: field.to_owned(), what: what.to_owned() }
}

pub(super) fn at_most(field: &str, size: usize, max: usize) -> Result<(), Broken> {
    if size > max { Err(broken(field, &format!("is {size}, at most {max} is allowed"))) } else { Ok(()) }
}

pub(super) fn id(field: &str, text: &str) -> Result<(), Broken> {
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(broken(field, &format!("needs 1 to {ID_BYTES_MAX} visible ASCII characters")));
    }
    Ok(())
}

pub(super) fn name(field: &str, text: &str) -> Result<(), Broken> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(broken(field, &format!("needs 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

pub(super) fn map(field: &str, map: &BTreeMap<String, String>) -> Result<(), Broken> {
    at_most(field, map.len(), MAP_MAX)?;
    for (key, value) in map {
        name(field, key)?;
        at_most(&format!("{field}[{key}]"), value.len(), MAP_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

pub(super) fn duration(field: &str, duration: Option<prost_types::Duration>) -> Result<Option<Duration>, Broken> {
    duration.map(|span| Duration::try_from(span).map_err(|_| broken(field, "is negative or too long"))).transpose()
}

pub(super) fn cut(text: &str) -> Arc<str> {
    cut_to(text, TEXT_BYTES_MAX)
}

pub(super) fn cut_to(text: &str, max: usize) -> Arc<str> {
    text[..text.floor_char_boundary(max)].into()
}
