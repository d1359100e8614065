//! A configuration read anew while the process runs: what of it takes effect at once, and what waits for a restart.

use super::{
    Complaints, LoadOptions, Loaded, load,
    option::Opt,
    settings::{Settings, Values},
};

/// How a new reading differs from what is in force; keys with the upstream's name in them, in the table's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In force from now on.
    pub changed: Vec<String>,
    /// Another value is written, and the old one stays in force until the process starts again.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration anew. Options that the table calls live take their new values; all others keep those of `current`. The
/// options that one rule looks at together are all live or none, so that the mixture is as right as its two parts.
///
/// # Errors
/// Every mistake of the new reading; what is in force stays as it is.
pub fn reload(current: &Loaded, options: &LoadOptions) -> Result<(Loaded, Changes), Complaints> {
    let new = load(options)?;
    let mut changes = Changes::default();
    let mut settings = current.settings.clone();
    adopt(&mut settings.global, &new.settings.global, &mut changes);
    for upstream in &mut settings.upstreams {
        match of_label(&new.settings, upstream.label()) {
            Some(written) => adopt(upstream, written, &mut changes),
            None => changes.needs_restart.push(format!("upstreams[{}]", upstream.label())),
        }
    }
    for written in &new.settings.upstreams {
        if of_label(&settings, written.label()).is_none() {
            changes.needs_restart.push(format!("upstreams[{}]", written.label()));
        }
    }
    Ok((Loaded::new(settings, new.warnings), changes))
}

fn of_label<'a>(settings: &'a Settings, label: &str) -> Option<&'a Values> {
    settings.upstreams.iter().find(|upstream| upstream.label() == label)
}

fn adopt(values: &mut Values, written: &Values, changes: &mut Changes) {
    let differing: Vec<&'static Opt> = written
        .entries()
        .filter(|entry| entry.value != values.entry(entry.option.key).value)
        .map(|entry| entry.option)
        .collect();
    for option in differing {
        let key = values.key(option);
        if option.live {
            let entry = written.entry(option.key);
            values.replace(option.key, entry.value.clone(), entry.source.clone());
            changes.changed.push(key);
        } else {
            changes.needs_restart.push(key);
        }
    }
}
