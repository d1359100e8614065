use super::*;

fn report(text: &str) -> String {
    Config::parse(text, Path::new("exec.toml")).expect_err("a mistake").to_string()
}

#[test]
fn the_smallest_file_has_every_default() {
    let text = "runner_id = \"a\"\n[routes.ECHO]\ncommand = [\"/bin/cat\"]\n";
    let config = Config::parse(text, Path::new("exec.toml")).expect("valid");
    assert_eq!(config.connect, "unix:/run/dlite/runner.sock");
    assert_eq!(config.slots, BTreeMap::from([("default".to_owned(), 1)]));
    let route = &config.routes[0];
    assert_eq!((route.task_type.as_str(), route.command[0].as_str()), ("ECHO", "/bin/cat"));
    assert_eq!((route.result_bytes_max, route.grace), (1 << 20, Duration::from_secs(10)));
    assert!(route.limits.is_empty() && !route.idempotent && route.env.is_empty());
}

#[test]
fn every_option_is_read() {
    let text = r#"
connect = "http://127.0.0.1:7070"
runner_id = "scripts-1"
token_file = "/etc/dlite/token"
slots = { default = 4, big = 1 }
state_dir = "/var/lib/x"
shutdown_grace = "5m"
grace = "3s"
log_bytes_max = "2MiB"
result_bytes_max = 4096
[limits]
memory = "2GiB"
pids = 512
[routes.BUILD]
command = "make test | tail"
shell = true
timeout = "30m"
env = { LANG = "C" }
pass_env = ["HTTP_PROXY"]
secret_env = { TOKEN = "deploy" }
kind = "execute"
slot_class = "big"
idempotent = true
any_runner = true
working_dir = "/srv"
skip_exit_code = 78
limits = { memory = "1GiB", cpu = 1.5 }
"#;
    let config = Config::parse(text, Path::new("exec.toml")).expect("valid");
    assert_eq!(config.slots["default"], 4);
    assert_eq!(config.shutdown_grace, Some(Duration::from_secs(300)));
    let route = &config.routes[0];
    assert_eq!(route.command, ["/bin/sh", "-c", "make test | tail"]);
    assert_eq!(route.limits, Limits { memory: Some(1 << 30), pids: Some(512), cpu: Some(1500) });
    assert_eq!((route.grace, route.log_bytes_max), (Duration::from_secs(3), 2 << 20));
    assert_eq!((route.skip_exit_code, route.result_bytes_max), (Some(78), 4096));
    assert_eq!((route.kind, route.idempotent), (crate::sdk::TaskKind::SessionExecute, true));
    assert!(route.any_runner);
}

#[test]
fn all_mistakes_come_at_once_with_line_key_and_fix() {
    let text = "runner_id = \"a b\"\nslotz = 2\n[routes.X]\ncommand = \"make\"\ntimeout = 5\n[routes.Y]\ncommand = [\"make\"]\nkind = \"odd\"\n";
    let report = report(text);
    for expected in [
        "exec.toml:1:13: runner_id: is not a simple name",
        "exec.toml:2:1: slotz: unknown key\n    nearest known: slots",
        "exec.toml:4:11: routes.X.command: a text where a list is needed",
        "exec.toml:5:11: routes.X.timeout: a number where a duration is needed",
        "exec.toml:7:11: routes.Y.command: \"make\" is not a whole path",
        "exec.toml:8:8: routes.Y.kind: \"odd\" is not one of its values",
        "6 mistakes in the configuration",
    ] {
        assert!(report.contains(expected), "{expected}\nis not in\n{report}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let report = report("connect = \"http://127.0.0.1:1\"\n[routes.X]\ntimeout = \"1s\"\n");
    for expected in ["runner_id: missing", "token_file: missing, and TCP needs a token", "routes.X.command: missing"] {
        assert!(report.contains(expected), "{expected}\nis not in\n{report}");
    }
    assert!(self::report("runner_id = \"a\"").contains("no task type is routed"));
}

#[test]
fn a_route_whose_class_has_no_slots_is_refused() {
    let report = report("runner_id = \"a\"\n[routes.X]\ncommand = [\"/bin/true\"]\nslot_class = \"big\"\n");
    assert!(report.contains("routes.X.slot_class: the class big has no slots"), "{report}");
}

#[test]
fn broken_toml_has_its_place() {
    let report = report("runner_id = \n");
    assert!(report.contains("exec.toml:1:") && report.contains("no TOML"), "{report}");
}
