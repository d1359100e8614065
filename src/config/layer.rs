//! One layer of raw values, and all of them on top of each other.
//!
//! It knows where each value came from and judges none.

use std::collections::BTreeMap;

use super::{
    option::{Opt, UPSTREAM_NAME},
    source::Source,
    value::Raw,
};

/// A raw value and its origin.
pub(super) struct Given {
    pub raw: Raw,
    pub source: Source,
}

/// Raw values by the table's key. An option holds one for each layer that sets it, the lowest layer first.
#[derive(Default)]
pub(super) struct Scope {
    given: BTreeMap<&'static str, Vec<Given>>,
    /// Where the file begins it, to point at when something is missing from it.
    pub place: Option<Source>,
}

/// All layers.
#[derive(Default)]
pub(super) struct Layers {
    pub global: Scope,
    /// In the order of the file.
    pub upstreams: Vec<Scope>,
    /// The file's syntax is broken, so what seems to be missing may be there.
    pub incomplete: bool,
}

impl Scope {
    pub fn at(place: Source) -> Self {
        Self { place: Some(place), ..Self::default() }
    }

    /// To be called in order of the layers.
    pub fn put(&mut self, option: &'static Opt, given: Given) {
        self.given.entry(option.key).or_default().push(given);
    }

    pub fn all(&self, option: &Opt) -> &[Given] {
        self.given.get(option.key).map_or(&[], Vec::as_slice)
    }

    /// The one in force, unjudged, if it is a text.
    fn text(&self, key: &str) -> Option<&str> {
        match &self.given.get(key)?.last()?.raw {
            Raw::Text(text) | Raw::Words(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// An upstream's kind, if it says so.
    pub fn kind(&self) -> Option<&str> {
        self.text("upstreams[].kind")
    }

    /// An upstream's name, the default included.
    pub fn name(&self) -> &str {
        self.text("upstreams[].name").unwrap_or(UPSTREAM_NAME)
    }
}

impl Layers {
    /// The scope that an option of upstreams has outside the file: the first upstream. One is made if the file has none, so that
    /// the environment of a Go client is a whole configuration.
    pub fn first_upstream(&mut self) -> &mut Scope {
        if self.upstreams.is_empty() {
            self.upstreams.push(Scope::default());
        }
        &mut self.upstreams[0]
    }

    pub fn upstream_named(&mut self, name: &str) -> Option<&mut Scope> {
        self.upstreams.iter_mut().find(|scope| scope.name() == name)
    }

    pub fn put_outside_file(&mut self, option: &'static Opt, given: Given) {
        match option.upstream_key() {
            Some(_) => self.first_upstream().put(option, given),
            None => self.global.put(option, given),
        }
    }
}
