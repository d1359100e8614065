//! The shipped files keep in step with the table of options.

use std::fs;

use dlite::config::{
    example,
    options::{Default, OPTIONS},
};

use crate::support::{SECRET, Scene, UPSTREAM};

fn shipped(name: &str) -> String {
    let path = format!("{}/packaging/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The example as a real configuration: the files it names exist.
fn scene(text: &str) -> Scene {
    let scene = Scene::new(
        &text
            .replace("/etc/dlite/account-secret", "account-secret")
            .replace("/etc/dlite/client", "client")
            .replace("/etc/dlite/otlp-headers", "otlp-headers"),
    );
    scene.file("account-secret", SECRET);
    scene.file("otlp-headers", "authorization: Bearer of-the-collector\n");
    scene.file("client.crt", "-----BEGIN CERTIFICATE-----\n");
    scene.file("client.key", "-----BEGIN PRIVATE KEY-----\n");
    scene
}

/// Options set, with the examples of absent ones left out.
fn uncommented(text: &str) -> String {
    // By name and example: names are unique within their section only.
    let is_absent = |line: &str| {
        OPTIONS.iter().any(|option| {
            let Default::Absent(_, example) = option.default else { return false };
            let name = option.key.rsplit('.').next().unwrap_or_default();
            let example = example.split(',').next().unwrap_or_default();
            line.strip_prefix(&format!("#{name} = ")).is_some_and(|value| value.contains(example))
        })
    };
    let set = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !is_absent(line) => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| set(line) + "\n").collect()
}

/// `DLITE_BLESS=1` writes the file anew after a change of the table.
#[test]
fn the_example_file_is_the_one_made_from_the_table() {
    if std::env::var_os("DLITE_BLESS").is_some() {
        fs::write(format!("{}/packaging/dlite.toml", env!("CARGO_MANIFEST_DIR")), example()).expect("written");
    }
    assert_eq!(shipped("dlite.toml"), example(), "run the test with DLITE_BLESS=1 after a change of the table");
}

#[test]
fn the_example_file_has_every_option_once() {
    let text = shipped("dlite.toml");
    for option in OPTIONS {
        let (section, name) = option.key.rsplit_once('.').unwrap_or(("", option.key));
        let header = match section {
            "" => String::new(),
            "upstreams[]" => "[[upstreams]]\n".into(),
            section => format!("\n[{}]\n", section.replace("[]", "")),
        };
        let body = text.split_once(&header).unwrap_or_else(|| panic!("{header}")).1;
        let body = body.split("\n[").next().unwrap_or_default();
        let is_it = |line: &&str| line.trim_start_matches('#').starts_with(&format!("{name} = "));
        assert_eq!(body.lines().filter(is_it).count(), 1, "{}", option.key);
    }
}

#[test]
fn the_example_file_is_a_configuration_and_sets_nothing_but_what_it_must() {
    let scene = scene(&shipped("dlite.toml"));
    for setting in scene.loaded().sources {
        let table_key = setting.key.replace("[harness]", "[]");
        let must =
            ["endpoint", "account_id", "account_secret", "account_secret_file"].map(|key| format!("upstreams[].{key}"));
        let is_default = setting.source.to_string() == "default";
        assert_eq!(is_default, !must.contains(&table_key), "{}: {}", setting.key, setting.source);
    }
}

#[test]
fn the_defaults_shown_in_the_example_file_are_the_defaults() {
    let text = shipped("dlite.toml");
    let (example, all) = (scene(&text).loaded(), scene(&uncommented(&text)).loaded());
    for (default, shown) in example.sources.iter().zip(&all.sources) {
        assert_eq!(default.key, shown.key);
        let absent = default.value.is_none();
        assert!(absent || shown.source.to_string() != "default", "{} is in the file", shown.key);
        // The scenes have a directory each, where their secrets are.
        if !default.key.ends_with("account_secret_file") {
            assert_eq!(default.value, shown.value, "{}", default.key);
        }
    }
}

#[test]
fn the_examples_of_absent_options_are_valid() {
    let text: String = shipped("dlite.toml")
        .lines()
        .filter(|line| {
            !["#account_secret =", "#secret =", "#secret_file ="].iter().any(|other| line.starts_with(other))
        })
        .map(|line| {
            let option = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty());
            format!("{}\n", option.unwrap_or(line))
        })
        .collect();
    let loaded = scene(&text).loaded();
    let of_drone = |key: &str| key.ends_with(".secret") || key.ends_with(".secret_file");
    assert!(loaded.sources.iter().all(|setting| setting.value.is_some() || of_drone(&setting.key)));
}

#[test]
fn the_service_unit_starts_the_daemon_as_designed() {
    let unit = shipped("dlite.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/dlite run --config /etc/dlite/dlite.toml",
        "StateDirectory=dlite",
        "StateDirectoryMode=0700",
        "RuntimeDirectory=dlite",
        "RuntimeDirectoryMode=0750",
        "Restart=on-failure",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ] {
        assert!(unit.lines().any(|shown| shown == line), "{line}");
    }
    assert!(unit.lines().any(|line| line.starts_with("TimeoutStopSec=")));
}

#[test]
fn the_service_managers_directories_are_where_the_daemon_looks() {
    let mut scene = Scene::new(UPSTREAM)
        .environment("STATE_DIRECTORY", "/var/lib/dlite")
        .environment("RUNTIME_DIRECTORY", "/run/dlite");
    scene.options.host.superuser = false;
    let as_service = scene.config();
    let as_root = Scene::new(UPSTREAM).config();
    assert_eq!((as_service.state_dir, as_service.admin), (as_root.state_dir, as_root.admin));
}
