//! The two layers above the file: environment, then flags.

use std::collections::BTreeMap;

use super::{
    complaint::Complaint,
    layer::{Given, Layers},
    nearest::nearest,
    options::{self, Kind, OPTIONS, Opt, keys},
    source::Source,
    value::Raw,
};

/// Names of ours that set no option.
const OTHER_VARIABLES: [&str; 1] = ["DLITE_CONFIG"];
/// What a Drone runner calls its server, and their secret.
const DRONE_HOST: &str = "DRONE_RPC_HOST";
const DRONE_SECRET: &str = "DRONE_RPC_SECRET";
/// How every name of ours begins.
const PREFIX: &str = "DLITE_";

/// Puts what the environment sets on top of `layers`. An empty value counts as not set, as environment files often have them.
pub(super) fn read_environment(
    environment: &BTreeMap<String, String>,
    layers: &mut Layers,
    warnings: &mut Vec<Complaint>,
) {
    let mut first_upstream_set_by = None;
    for option in OPTIONS {
        let Some(given) = variable(option, environment) else { continue };
        if option.upstream_key().is_some() {
            first_upstream_set_by.get_or_insert_with(|| given.source.clone());
        }
        layers.put_outside_file(option, given);
    }
    drone_variables(environment, layers);
    if let Some(source) = first_upstream_set_by.filter(|_| layers.upstreams.len() > 1) {
        let name = layers.upstreams[0].name();
        let count = layers.upstreams.len();
        warnings.push(
            Complaint::general(source, format!("sets an option of the first of {count} upstreams only, {name:?}"))
                .fix("write it into the file, below its [[upstreams]]"),
        );
    }
    warn_of_unknown(environment, warnings);
}

/// Puts what flags set on top of `layers`; of two flags with one key the later one wins.
pub(super) fn read_flags(flags: &[(String, String)], layers: &mut Layers, complaints: &mut Vec<Complaint>) {
    for (key, value) in flags {
        let set = Source::Flag(format!("--set {key}"));
        let Some((option, upstream)) = addressed(key) else {
            let complaint = Complaint::new(set, key, "unknown key").nearest(nearest(key, keys()));
            complaints.push(complaint.fix("see `dlite config show` for all keys"));
            continue;
        };
        if option.is_secret() {
            let complaint = Complaint::new(set, key, "a secret on the command line, where every user can read it");
            complaints.push(complaint.fix(format!(
                "set {}_file, or {} in the environment",
                option.upstream_key().unwrap_or(option.key),
                option.variable()
            )));
            continue;
        }
        if option.kind == Kind::Proxy && value.contains('@') {
            let complaint = Complaint::new(set, key, "a password on the command line, where every user can read it");
            complaints.push(
                complaint.fix(format!("write it into the file, or set {} in the environment", option.variable())),
            );
            continue;
        }
        let raw = Raw::Words(value.clone());
        match upstream {
            None => {
                let source = option.flag.map_or(set, |flag| Source::Flag(format!("--{flag}")));
                layers.put_outside_file(option, Given { raw, source });
            }
            Some(name) => match layers.upstream_named(name) {
                Some(scope) => scope.put(option, Given { raw, source: set }),
                None => complaints.push(
                    Complaint::new(set, key, format!("no upstream is named {name:?}"))
                        .fix("name one of the file's, or write upstreams[] for the first"),
                ),
            },
        }
    }
}

/// The option and, for `upstreams[NAME].option`, the name.
fn addressed(key: &str) -> Option<(&'static Opt, Option<&str>)> {
    if let Some(option) = options::find(key) {
        return Some((option, None));
    }
    let (name, rest) = key.strip_prefix("upstreams[")?.split_once(']')?;
    Some((options::find(&format!("upstreams[]{rest}"))?, Some(name)))
}

/// The names that a Drone runner has for its server. They are a whole upstream where there is none, and count below our own names
/// where the first is a Drone server; beside any other they belong to the programs around us.
fn drone_variables(environment: &BTreeMap<String, String>, layers: &mut Layers) {
    let get = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let Some(host) = get(DRONE_HOST) else { return };
    let is_new = layers.upstreams.is_empty();
    let scope = layers.first_upstream();
    if !is_new && scope.kind() != Some("drone") {
        return;
    }
    let scheme = get("DRONE_RPC_PROTO").unwrap_or("http");
    let found = [
        is_new.then(|| ("upstreams[].kind", "drone".to_owned(), DRONE_HOST)),
        is_new.then(|| ("upstreams[].name", "drone".to_owned(), DRONE_HOST)),
        Some(("upstreams[].endpoint", format!("{scheme}://{host}"), DRONE_HOST)),
        get(DRONE_SECRET).map(|secret| ("upstreams[].secret", secret.to_owned(), DRONE_SECRET)),
    ];
    for (key, value, name) in found.into_iter().flatten() {
        let Some(option) = options::find(key) else { continue };
        let ours = environment.get(&option.variable()).is_some_and(|value| !value.trim().is_empty());
        if !ours {
            scope.put(option, Given { raw: Raw::Words(value), source: Source::Environment(name.to_owned()) });
        }
    }
}

fn variable(option: &Opt, environment: &BTreeMap<String, String>) -> Option<Given> {
    let get = |name: &str| environment.get(name).filter(|value| !value.trim().is_empty()).cloned();
    let own = option.variable();
    if let Some(value) = get(&own) {
        return Some(Given { raw: Raw::Words(value), source: Source::Environment(own) });
    }
    option.aliases.iter().find_map(|alias| {
        let value = get(alias.name)?;
        let raw = if alias.milliseconds { Raw::Milliseconds(value) } else { Raw::Words(value) };
        Some(Given { raw, source: Source::Environment(alias.name.to_owned()) })
    })
}

/// A name that looks like one of ours is probably a slip. One that does not may belong to the programs around us, so it is none of
/// our business, and neither is ever a mistake that keeps the delegate from starting.
fn warn_of_unknown(environment: &BTreeMap<String, String>, warnings: &mut Vec<Complaint>) {
    let mut known: Vec<String> = OTHER_VARIABLES.iter().map(|name| (*name).to_owned()).collect();
    for option in OPTIONS {
        known.push(option.variable());
        known.extend(option.aliases.iter().map(|alias| alias.name.to_owned()));
    }
    for name in environment.keys().filter(|name| name.starts_with(PREFIX) && !known.contains(name)) {
        // Without the common beginning, which would make all of them alike.
        let known_parts = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
        if let Some(nearest) = nearest(name.strip_prefix(PREFIX).unwrap_or(name), known_parts) {
            let complaint = Complaint::general(Source::Environment(name.clone()), "unknown variable, ignored");
            warnings.push(complaint.nearest(Some(format!("{PREFIX}{nearest}"))));
        }
    }
}
