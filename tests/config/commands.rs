//! The flags as clap knows them, and the two commands.

use clap::{CommandFactory, Parser};
use dlite::{
    cli::config::{CheckArgs, ConfigArgs, Output, ShowArgs, check_to, show_to},
    config::options::OPTIONS,
};

use crate::support::{Scene, UPSTREAM};

#[derive(Parser)]
enum Commands {
    Check(CheckArgs),
    Show(ShowArgs),
}

fn check_args(args: &[&str]) -> ConfigArgs {
    let args = ["dlite", "check"].iter().chain(args);
    match Commands::try_parse_from(args).unwrap_or_else(|error| panic!("{error}")) {
        Commands::Check(args) => args.config,
        Commands::Show(_) => unreachable!("check was asked for"),
    }
}

fn run(scene: &Scene, command: impl Fn(&mut Vec<u8>, &mut Vec<u8>) -> std::io::Result<u8>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = command(&mut out, &mut err).expect("written");
    let text = |bytes| String::from_utf8(bytes).expect("text").replace(&format!("{}/", scene.path().display()), "");
    (code, text(out), text(err))
}

fn check(scene: &Scene) -> (u8, String, String) {
    run(scene, |out, err| check_to(&scene.options, out, err))
}

fn show(scene: &Scene, sources: bool, output: Output) -> (u8, String, String) {
    run(scene, |out, err| show_to(&scene.options, sources, output, out, err))
}

#[test]
fn the_command_line_is_consistent() {
    Commands::command().debug_assert();
}

#[test]
fn every_flag_of_the_table_is_known_by_name_and_told_in_the_help() {
    let help = Commands::command().find_subcommand_mut("check").expect("check").render_long_help().to_string();
    for option in OPTIONS {
        let Some(flag) = option.flag else { continue };
        let args = check_args(&[&format!("--{flag}"), "value"]);
        assert_eq!(args.flags, [(option.key.to_owned(), "value".to_owned())]);
        assert!(help.contains(&format!("--{flag} ")) && help.contains(&option.variable()), "{flag}: {help}");
    }
}

#[test]
fn the_file_is_named_by_flag_and_any_option_by_its_key() {
    let args = check_args(&["--config", "a.toml", "--set", "name=a=b", "--name", "c", "--set", "tasks_max=3"]);
    assert_eq!(args.file.as_deref().and_then(|file| file.to_str()), Some("a.toml"));
    let flags = [("name", "c"), ("name", "a=b"), ("tasks_max", "3")];
    assert_eq!(args.flags, flags.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn a_set_flag_without_an_equals_sign_is_refused_and_not_repeated() {
    let error = Commands::try_parse_from(["dlite", "check", "--set", "0f1e2d3c"]).err().expect("refused").to_string();
    assert!(error.contains("KEY=VALUE") && !error.contains("0f1e2d3c"), "{error}");
}

#[test]
fn arguments_print_without_their_values() {
    let args = check_args(&["--set", "upstreams[].account_secret=0f1e2d3c", "--config", "a.toml"]);
    let text = format!("{args:?}");
    assert!(text.contains("upstreams[].account_secret") && !text.contains("0f1e2d3c"), "{text}");
}

#[test]
fn check_says_ok_with_code_0() {
    assert_eq!(
        check(&Scene::new(UPSTREAM)),
        (0, "ok: dlite.toml: delegate build-host, upstream harness\n".into(), "".into())
    );
}

#[test]
fn check_tells_warnings_and_still_says_ok() {
    let (code, out, err) = check(&Scene::new(&format!("{UPSTREAM}tls.verify = false\n")));
    assert_eq!(code, 0);
    assert!(
        out.starts_with("ok: ") && err.starts_with("warning: dlite.toml:5:14: upstreams[harness].tls.verify: "),
        "{err}"
    );
}

#[test]
fn check_reports_every_mistake_with_code_4() {
    let scene = Scene::new(&format!("[runners]\nlease_tll = \"90s\"\nattempts_max = 0\n{UPSTREAM}"));
    let report = "\
dlite.toml:2:1: runners.lease_tll: unknown key
    nearest known: runners.lease_ttl
    fix: correct or remove it
dlite.toml:3:16: runners.attempts_max: out of bounds
    fix: write a whole number from 1 to 100
2 mistakes in the configuration
";
    assert_eq!(check(&scene), (4, "".into(), report.into()));
}

#[test]
fn show_tells_each_value_and_where_it_came_from() {
    let scene = Scene::new(&format!("state_dir = \"/srv\"\n{UPSTREAM}"))
        .environment("DLITE_PARALLEL_WORKERS", "7")
        .flag("name", "a")
        .flag("runners.lease_ttl", "90s");
    let (code, out, _) = show(&scene, true, Output::Table);
    assert_eq!(code, 0);
    let rows: Vec<String> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "KEY VALUE SOURCE",
        "name \"a\" flag --name",
        "state_dir \"/srv\" dlite.toml:1",
        "tasks_max 7 environment DLITE_PARALLEL_WORKERS",
        "runners.listen - default",
        "runners.lease_ttl \"90s\" flag --set runners.lease_ttl",
        "upstreams[harness].account_secret \"********\" dlite.toml:5",
        "upstreams[harness].tls.verify true default",
    ] {
        assert!(rows.iter().any(|shown| shown == row), "{row}\n{out}");
    }
    let (_, out, _) = show(&scene, false, Output::Table);
    assert!(!out.contains("SOURCE") && !out.contains("default"), "{out}");
}

#[test]
fn show_has_every_option_of_the_table() {
    let (_, out, _) = show(&Scene::new(UPSTREAM), false, Output::Table);
    let keys: Vec<&str> = out.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let expected: Vec<String> = OPTIONS.iter().map(|option| option.key.replace("[]", "[harness]")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn show_gives_json_with_typed_values() {
    let scene = Scene::new(&format!("{UPSTREAM}tags = [\"a\"]\n"));
    let (_, out, _) = show(&scene, true, Output::Json);
    let document: serde_json::Value = serde_json::from_str(&out).expect("json");
    let entry = |key: &str| {
        let settings = document["settings"].as_array().expect("a list");
        settings.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("{key}")).clone()
    };
    assert_eq!(entry("tasks_max"), serde_json::json!({"key": "tasks_max", "value": 100, "source": "default"}));
    assert_eq!(entry("runners.listen")["value"], serde_json::Value::Null);
    assert_eq!(entry("upstreams[harness].tags")["value"], serde_json::json!(["a"]));
    assert_eq!(entry("upstreams[harness].tls.verify")["value"], true);
    let (_, out, _) = show(&scene, false, Output::Json);
    assert!(!out.contains("\"source\""), "{out}");
}

#[test]
fn show_of_a_configuration_with_mistakes_shows_them_with_code_4() {
    let (code, out, err) = show(&Scene::without_file(), true, Output::Table);
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.contains("1 mistake in the configuration"), "{err}");
}
