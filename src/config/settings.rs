//! Layers judged: one value in force for each option, with its origin.
//!
//! It judges each value by its kind and fills in defaults. What several options must fulfil together is in `rules`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    complaint::Complaint,
    defaults::{Defaults, Missing},
    layer::{Layers, Scope},
    option::{KINDS, UPSTREAM_KIND, UPSTREAM_NAME},
    options::{Default, Kind, OPTIONS, Opt},
    proxy::Proxy,
    ratio::Ratio,
    secret::Secret,
    source::Source,
    value::{Listen, Raw, Refusal, Value},
};

/// All options, judged.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub global: Values,
    pub upstreams: Vec<Values>,
}

/// The options of one scope: the process, or one upstream.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Name of the upstream for keys in complaints; its number if the name is bad.
    label: Option<String>,
    /// Where the file begins the scope.
    place: Option<Source>,
    entries: BTreeMap<&'static str, Entry>,
}

/// One option. Without a value it is absent, or its value was refused and somebody complained.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub option: &'static Opt,
    pub value: Option<Value>,
    pub source: Source,
}

impl Settings {
    pub fn judge(layers: &Layers, defaults: &Defaults<'_>, complaints: &mut Vec<Complaint>) -> Self {
        let incomplete = layers.incomplete;
        let global_options = OPTIONS.iter().filter(|option| option.upstream_key().is_none());
        let mut global = Values { label: None, place: None, entries: BTreeMap::new() };
        Judge { scope: &layers.global, incomplete, defaults, outer: None, complaints }
            .judge(&mut global, global_options);

        let mut upstreams = Vec::new();
        for (number, scope) in layers.upstreams.iter().enumerate() {
            let name = scope.name();
            let is_word = Value::parse(Kind::Word, &Raw::Words(name.to_owned())).is_ok();
            let label = if is_word { name.to_owned() } else { number.to_string() };
            let mut values = Values { label: Some(label), place: scope.place.clone(), entries: BTreeMap::new() };
            let options = OPTIONS.iter().filter(|option| option.upstream_key().is_some());
            Judge { scope, incomplete, defaults, outer: Some(&global), complaints }.judge(&mut values, options);
            upstreams.push(values);
        }
        Self { global, upstreams }
    }
}

struct Judge<'a> {
    scope: &'a Scope,
    incomplete: bool,
    defaults: &'a Defaults<'a>,
    /// The process' values, while an upstream's are judged.
    outer: Option<&'a Values>,
    complaints: &'a mut Vec<Complaint>,
}

impl Judge<'_> {
    fn judge(&mut self, values: &mut Values, options: impl Iterator<Item = &'static Opt>) {
        // A kind that is none is complained about once, and the rest is judged as if it had not been given.
        let kind = self.scope.kind().filter(|kind| KINDS.contains(kind)).unwrap_or(UPSTREAM_KIND);
        for option in options {
            let key = values.key(option);
            let is_foreign = option.only_kind().is_some_and(|only| only != kind);
            if is_foreign && let Some(given) = self.scope.all(option).last() {
                let only = option.only_kind().unwrap_or_default();
                let reason = format!("an option of upstreams of kind {only:?}, and this one is {kind:?}");
                self.complaints.push(Complaint::new(given.source.clone(), key.clone(), reason).fix("remove it"));
            }
            if is_foreign && matches!(option.default, Default::Required(_) | Default::Absent(..)) {
                values.entries.insert(option.key, Entry { option, value: None, source: Source::Default });
                continue;
            }
            // Values that are overridden are judged too: they are in force as soon as the upper layer is gone.
            let mut judged: Vec<(Option<Value>, Source)> = Vec::new();
            for given in self.scope.all(option) {
                let value = Value::parse(option.kind, &given.raw).map(|value| from_directory_of(&given.source, value));
                let value = self.taken(&key, value, &given.source);
                judged.push((value, given.source.clone()));
            }
            let (value, source) = judged.pop().unwrap_or_else(|| (self.default(option, &key, values), Source::Default));
            values.entries.insert(option.key, Entry { option, value, source });
        }
    }

    fn default(&mut self, option: &'static Opt, key: &str, values: &Values) -> Option<Value> {
        match option.default {
            Default::Absent(..) => None,
            Default::Fixed(text) => {
                let parsed = Value::parse(option.kind, &Raw::Words(text.to_owned()));
                self.taken(key, parsed, &Source::Default)
            }
            Default::Derived(..) => match self.defaults.derive(option.key, self.outer.unwrap_or(values)) {
                Ok(value) => Some(value),
                Err(Missing::Refused(refusal)) => self.taken(key, Err(refusal), &Source::Default),
                // What it derives from was complained about.
                Err(Missing::Base) => None,
            },
            Default::Required(example) => {
                if !self.incomplete {
                    let place = values.place.clone().unwrap_or(Source::Default);
                    let name = option.upstream_key().unwrap_or(option.key);
                    let fix = format!("write {name} = {example:?}, with your value, or set {}", option.variable());
                    self.complaints.push(Complaint::new(place, key, "missing").fix(fix));
                }
                None
            }
        }
    }

    fn taken(&mut self, key: &str, value: Result<Value, Refusal>, source: &Source) -> Option<Value> {
        value
            .map_err(|refusal| {
                self.complaints.push(Complaint::new(source.clone(), key, refusal.reason).fix(refusal.fix));
            })
            .ok()
    }
}

/// A relative path in the file starts at the file's directory, so that the file means the same wherever the process is started.
fn from_directory_of(source: &Source, value: Value) -> Value {
    let Source::Line { file, .. } = source else { return value };
    let directory = file.parent().unwrap_or(Path::new(""));
    match value {
        Value::Path(path) => Value::Path(directory.join(path)),
        Value::Paths(paths) => Value::Paths(paths.into_iter().map(|path| directory.join(path)).collect()),
        other => other,
    }
}

impl Values {
    /// The option's key with the upstream's name in it.
    pub fn key(&self, option: &Opt) -> String {
        match (option.upstream_key(), &self.label) {
            (Some(key), Some(label)) => format!("upstreams[{label}].{key}"),
            _ => option.key.to_owned(),
        }
    }

    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(UPSTREAM_NAME)
    }

    /// By the table's key.
    pub fn entry(&self, key: &str) -> &Entry {
        let entry = self.entries.get(key);
        // A key that is asked for here and is not in the table is a slip of this module, which any load at all shows.
        entry.unwrap_or_else(|| panic!("{key} is in the table of options and in this scope"))
    }

    /// Where the file begins this scope, else the place of this option.
    pub fn place_of(&self, key: &str) -> Source {
        let entry = self.entry(key);
        match (&entry.source, &self.place) {
            (Source::Default, Some(place)) => place.clone(),
            (source, _) => source.clone(),
        }
    }

    pub fn replace(&mut self, key: &str, value: Option<Value>, source: Source) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = value;
            entry.source = source;
        }
    }

    /// The value, unless it is absent or was refused.
    pub fn get<T: Meant>(&self, key: &str) -> Option<T> {
        let value = self.entry(key).value.clone()?;
        // The kind in the table and the type asked for belong together; any load at all shows it if they do not.
        Some(T::from_value(value).unwrap_or_else(|| panic!("{key} has another kind in the table of options")))
    }

    /// The value of an option that is never absent, once no complaint is left.
    pub fn need<T: Meant>(&self, key: &str) -> T {
        self.get(key).unwrap_or_else(|| panic!("{key} has a default or is required, and nobody complained"))
    }

    /// In the table's order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        OPTIONS.iter().filter_map(|option| self.entries.get(option.key))
    }
}

/// A type that values of some kind have in the meant configuration.
pub(super) trait Meant: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! meant {
    ($($type:ty: $variant:ident),* $(,)?) => {
        $(impl Meant for $type {
            fn from_value(value: Value) -> Option<Self> {
                if let Value::$variant(value) = value { Some(value) } else { None }
            }
        })*
    };
}

meant! {
    String: Text, bool: Boolean, u32: Count, Duration: Duration, PathBuf: Path, SocketAddr: Address, Secret: Secret, Proxy: Proxy,
    Listen: Listen, Ratio: Ratio,
    Vec<String>: Texts, Vec<PathBuf>: Paths,
}
