//! The example file, written from the table of options.

use super::options::{Default, Kind, OPTIONS, Opt};

/// Longest line of the example.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Configuration of dlite.
#
# Every option is here. Those that begin with \"#\" show their default, or an example where there is
# none; remove the \"#\" to set one. The environment overrides this file, and flags override both.
# Durations are whole numbers with a unit: ms, s, m or h. A relative path starts at this directory.
#
# `dlite config check` finds every mistake; `dlite config show --sources` tells where each value
# came from.
";

/// A commented file with every option: its meaning, bounds, default and environment names. It is a valid configuration once the
/// endpoint, the account and the file of its secret are those of a real one.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for option in OPTIONS {
        let (of, name) = option.key.rsplit_once('.').unwrap_or(("", option.key));
        if of != section {
            section = of;
            text.push_str(&format!("\n{}\n", header(of)));
        }
        text.push('\n');
        for line in wrap(&describe(option)).into_iter().chain(wrap(&environment(option))) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("{}\n", assignment(option, name)));
    }
    text
}

fn header(section: &str) -> String {
    match section.split_once("[]") {
        Some((list, "")) => format!("[[{list}]]"),
        Some((list, table)) => format!("[{list}{table}]"),
        None => format!("[{section}]"),
    }
}

fn describe(option: &Opt) -> String {
    let mut text = option.doc.to_owned();
    if option.live {
        text.push_str(" A reload changes it.");
    }
    match option.kind {
        Kind::Count(min, max) => text.push_str(&format!(" From {min} to {max}.")),
        Kind::Duration(min, max) => {
            let show = super::value::show_duration;
            text.push_str(&format!(" From {} to {}.", show(min), show(max)));
        }
        Kind::Choice(choices) if choices.len() > 1 => {
            let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
            text.push_str(&format!(" One of {}.", choices.join(", ")));
        }
        _ => {}
    }
    match option.default {
        Default::Fixed(_) => {}
        Default::Derived(from, _) => text.push_str(&format!(" Default: {from}.")),
        Default::Required(_) => text.push_str(" Required."),
        Default::Absent(meaning, _) => text.push_str(&format!(" Without it: {meaning}.")),
    }
    text
}

fn environment(option: &Opt) -> String {
    let aliases = option.aliases.iter().map(|alias| alias.name.to_owned());
    let names: Vec<String> = std::iter::once(option.variable()).chain(aliases).collect();
    format!("Environment: {}", names.join(", "))
}

fn assignment(option: &Opt, name: &str) -> String {
    let (sign, text) = match option.default {
        Default::Required(text) => ("", text),
        // One of the two forms of the secret is needed, and this is the better one.
        Default::Absent(_, text) if option.key == "upstreams[].account_secret_file" => ("", text),
        Default::Fixed(text) | Default::Derived(_, text) | Default::Absent(_, text) => ("#", text),
    };
    let value = match option.kind {
        Kind::Boolean | Kind::Count(..) | Kind::Ratio => text.to_owned(),
        Kind::Texts | Kind::Pointers | Kind::Paths => {
            let items: Vec<String> =
                text.split(',').filter(|item| !item.is_empty()).map(|item| format!("{item:?}")).collect();
            format!("[{}]", items.join(", "))
        }
        _ => format!("{text:?}"),
    };
    format!("{sign}{name} = {value}")
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + 1 + word.len() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
