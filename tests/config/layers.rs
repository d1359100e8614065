//! Every option by name through every layer, and which layer wins.

use std::time::Duration;

use dlite::config::{
    LegacyStatusCode, LogFormat, Source, Value,
    options::{Kind, OPTIONS, Opt},
};

use crate::support::{OTHER_SECRET, SECRET, Scene, UPSTREAM};

/// For each key a value that is not its default: as words, and as TOML.
const VALUES: &[(&str, &str)] = &[
    ("name", "other-name"),
    ("state_dir", "/srv/dlite"),
    ("tasks_max", "7"),
    ("log.format", "json"),
    ("log.filter", "warn,dlite::core=debug"),
    ("admin.socket", "/srv/admin.sock"),
    ("http.listen", "off"),
    ("http.page", "off"),
    ("metrics.endpoint", "https://collector.example.test:4318/prefix"),
    ("metrics.protocol", "http"),
    ("metrics.interval", "15s"),
    ("traces.endpoint", "https://collector.example.test:4317/prefix"),
    ("traces.protocol", "http"),
    ("traces.sample_ratio", "0.25"),
    ("traces.headers_file", "HEADERS"),
    ("traces.timeout", "200ms"),
    ("runners.socket", "/srv/runner.sock"),
    ("runners.listen", "127.0.0.1:7070"),
    ("runners.token_file", "/srv/token"),
    ("runners.lease_ttl", "90s"),
    ("runners.heartbeat_interval", "100ms"),
    ("runners.accept_timeout", "200ms"),
    ("runners.reassign_margin", "300ms"),
    ("runners.cancel_grace", "2m"),
    ("runners.revoke_margin", "400ms"),
    ("runners.no_runner_timeout", "1h"),
    ("runners.run_time_max", "6h"),
    ("runners.attempts_max", "5"),
    ("drain.grace", "45s"),
    ("drain.on_signal", "leave"),
    ("logs.report_wait", "5s"),
    ("logs.sink", "file"),
    ("logs.dir", "/srv/logs"),
    ("logs.log_max_mib", "7"),
    ("logs.all_max_mib", "70"),
    ("runners.cleanup_reserve", "2"),
    ("admission.interval", "20ms"),
    ("admission.memory_high", "86"),
    ("admission.memory_low", "71"),
    ("admission.memory_pressure_high", "31"),
    ("admission.memory_pressure_low", "9"),
    ("admission.disk_high", "94"),
    ("admission.disk_low", "73"),
    ("admission.cpu_high", "99"),
    ("admission.cpu_low", "74"),
    ("admission.cpu_pressure_high", "98"),
    ("admission.cpu_pressure_low", "76"),
    ("admission.io_pressure_high", "97"),
    ("admission.io_pressure_low", "77"),
    ("admission.execute_margin", "3"),
    ("admission.starts_per_second", "4"),
    ("admission.starts_burst", "6"),
    ("admission.cpu_capacity_millis", "8000"),
    ("admission.memory_capacity_mib", "16384"),
    ("admission.disk_capacity_mib", "102400"),
    ("admission.disk_path", "/srv/ci"),
    ("admission.proc_dir", "/srv/proc"),
    ("admission.cgroup_dir", "/srv/group"),
    ("sessions.ttl", "2h"),
    ("upstreams[].name", "other"),
    ("upstreams[].kind", "drone"),
    ("upstreams[].endpoint", "https://other.example.test/prefix"),
    ("upstreams[].account_id", "-k53_qRQA"),
    ("upstreams[].account_secret", OTHER_SECRET),
    ("upstreams[].account_secret_file", "FILE"),
    ("upstreams[].secret", "other words"),
    ("upstreams[].secret_file", "WORDS"),
    ("upstreams[].delegate_name", "other-delegate"),
    ("upstreams[].host_name", "dlite-other"),
    ("upstreams[].tags", "linux,arm64"),
    ("upstreams[].task_types", "ONE,TWO"),
    ("upstreams[].poll_interval", "10ms"),
    ("upstreams[].heartbeat_interval", "100ms"),
    ("upstreams[].request_timeout", "500ms"),
    ("upstreams[].report_age_max", "48h"),
    ("upstreams[].report_retry_min", "20ms"),
    ("upstreams[].report_retry_max", "5s"),
    ("upstreams[].acquire_recovery_max", "11m"),
    ("upstreams[].weight", "2"),
    ("upstreams[].family", "runner"),
    ("upstreams[].unregister_on_stop", "true"),
    ("upstreams[].capacity", "7"),
    ("upstreams[].session_pointers", "ONE=/stage/id,TWO=/stage"),
    ("upstreams[].legacy_status_code", "ok"),
    ("upstreams[].log_upload", "link"),
    ("upstreams[].send_secret_in_body", "true"),
    ("upstreams[].trace_pointers", "/one/traceparent,/two"),
    ("upstreams[].proxy", "http://proxy.example.test:3128"),
    ("upstreams[].no_proxy", ".example.test,192.0.2.0/24"),
    ("upstreams[].tls.ca_files", "CA"),
    ("upstreams[].tls.verify", "false"),
    ("upstreams[].tls.client_cert", "CERT"),
    ("upstreams[].tls.client_key", "KEY"),
];

/// The value for an option, the names of files replaced by those of `scene`.
fn value(option: &Opt, scene: &Scene) -> String {
    let (_, value) = VALUES.iter().find(|(key, _)| *key == option.key).expect("a value for every option of the table");
    match *value {
        "WORDS" => scene.file("words", "more words").display().to_string(),
        "FILE" => scene.file("secret", OTHER_SECRET).display().to_string(),
        "CERT" | "KEY" => {
            let cert = scene.file("client.crt", "-----BEGIN CERTIFICATE-----\n");
            let key = scene.file("client.key", "-----BEGIN PRIVATE KEY-----\n");
            if *value == "CERT" { cert.display().to_string() } else { key.display().to_string() }
        }
        "HEADERS" => scene.file("headers", "authorization: Bearer of-the-collector\n").display().to_string(),
        "CA" => scene.file("ca.pem", "-----BEGIN CERTIFICATE-----\n").display().to_string(),
        value => value.to_owned(),
    }
}

fn toml(option: &Opt, value: &str) -> String {
    match option.kind {
        Kind::Boolean | Kind::Count(..) | Kind::Ratio => value.to_owned(),
        Kind::Texts | Kind::Pointers | Kind::Paths => format!("{:?}", value.split(',').collect::<Vec<_>>()),
        _ => format!("{value:?}"),
    }
}

/// What a Drone server must have, but for kind and secret.
const DRONE: &str = "[[upstreams]]\nendpoint = \"https://ci.example.test\"\n";

/// A base configuration without this option, as text.
fn base_without(option: &Opt) -> String {
    let is_secret = option.key.starts_with("upstreams[].account_secret");
    let name = option.upstream_key().unwrap_or(option.key);
    let keep =
        |line: &&str| !(line.starts_with(&format!("{name} =")) || is_secret && line.starts_with("account_secret"));
    match name {
        // Of the other kind.
        "kind" => return format!("{DRONE}secret = \"words\"\n"),
        "secret" | "secret_file" => return format!("{DRONE}kind = \"drone\"\n"),
        _ => {}
    }
    let base: String = UPSTREAM.lines().filter(keep).map(|line| format!("{line}\n")).collect();
    // The two of a pair.
    match name {
        "tls.client_cert" => base + "tls.client_key = \"client.key\"\n",
        "tls.client_key" => base + "tls.client_cert = \"client.crt\"\n",
        _ => base,
    }
}

/// The option as it is shown, whatever the upstream's name is.
fn shown(scene: &Scene, option: &Opt) -> (Option<Value>, Source) {
    let loaded = scene.loaded();
    let position = OPTIONS.iter().position(|other| other.key == option.key).expect("an option of the table");
    let setting = &loaded.sources[position];
    assert!(setting.key.ends_with(option.upstream_key().unwrap_or(option.key)));
    (setting.value.clone(), setting.source.clone())
}

/// Checks the value, both as shown and, by its difference from the base, in the meant configuration.
fn assert_set(scene: &Scene, option: &Opt, value: &str) {
    let (shown, _) = shown(scene, option);
    let shown = match shown.expect("a value") {
        Value::Secret(secret) => secret.expose().to_owned(),
        Value::Texts(texts) => texts.join(","),
        Value::Paths(paths) => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(","),
        Value::Text(text) => text,
        Value::Path(path) => path.display().to_string(),
        other => other.to_string().trim_matches('"').to_owned(),
    };
    assert_eq!(shown, value, "{}", option.key);
    assert_ne!(scene.config(), Scene::new(UPSTREAM).config(), "{} reaches the configuration", option.key);
}

#[test]
fn every_option_is_set_by_its_key_in_the_file() {
    for option in OPTIONS {
        let scene = Scene::new("");
        let value = value(option, &scene);
        let base = base_without(option);
        let name = option.upstream_key().unwrap_or(option.key);
        // Globals first, then the upstream, whose own keys must follow its header.
        let text = match option.upstream_key() {
            Some(_) => format!("{base}{name} = {}\n", toml(option, &value)),
            None => format!("{name} = {}\n{base}", toml(option, &value)),
        };
        scene.file("dlite.toml", &text);
        assert_set(&scene, option, &value);
        let line = if option.upstream_key().is_some() { text.lines().count() } else { 1 };
        let (_, source) = shown(&scene, option);
        assert!(matches!(source, Source::Line { line: at, .. } if at == line), "{}: {source:?}", option.key);
    }
}

#[test]
fn every_option_is_set_by_its_variable_in_the_environment() {
    for option in OPTIONS {
        let scene = Scene::new(&base_without(option));
        let value = value(option, &scene);
        let scene = scene.environment(&option.variable(), &value);
        assert_set(&scene, option, &value);
        assert_eq!(shown(&scene, option).1, Source::Environment(option.variable()));
    }
}

#[test]
fn every_option_but_a_secret_is_set_by_its_key_in_a_flag() {
    for option in OPTIONS.iter().filter(|option| !option.is_secret()) {
        let scene = Scene::new(&base_without(option));
        let value = value(option, &scene);
        let scene = scene.flag(option.key, &value);
        assert_set(&scene, option, &value);
        let flag = option.flag.map_or_else(|| format!("--set {}", option.key), |flag| format!("--{flag}"));
        assert_eq!(shown(&scene, option).1, Source::Flag(flag));
    }
}

#[test]
fn every_name_of_the_go_client_sets_its_option() {
    let mut seen = Vec::new();
    for option in OPTIONS {
        for alias in option.aliases {
            let scene = Scene::new(&base_without(option));
            let value = value(option, &scene);
            let given = if alias.milliseconds { value.trim_end_matches("ms").to_owned() } else { value.clone() };
            let scene = scene.environment(alias.name, &given);
            assert_set(&scene, option, &value);
            assert_eq!(shown(&scene, option).1, Source::Environment(alias.name.into()));
            seen.push(alias.name);
        }
        seen.extend((option.variable() == "DLITE_NAME").then_some("DLITE_NAME"));
    }
    for name in [
        "DLITE_ACCOUNT_ID",
        "DLITE_ACCOUNT_SECRET",
        "DLITE_MANAGER_ENDPOINT",
        "DLITE_INTERNAL_MANAGER_ENDPOINT",
        "DLITE_NAME",
        "DLITE_PARALLEL_WORKERS",
        "DLITE_POLL_INTERVAL_MILLISECS",
    ] {
        assert!(seen.contains(&name), "{name}");
    }
}

#[test]
fn the_environment_of_a_go_client_is_a_whole_configuration() {
    let config = Scene::without_file()
        .environment("DLITE_ACCOUNT_ID", "acct")
        .environment("DLITE_ACCOUNT_SECRET", SECRET)
        .environment("DLITE_MANAGER_ENDPOINT", "https://public.example.test/")
        .environment("DLITE_INTERNAL_MANAGER_ENDPOINT", "https://internal.example.test/")
        .environment("DLITE_NAME", "mac-pool-a")
        .environment("DLITE_PARALLEL_WORKERS", "12")
        .environment("DLITE_POLL_INTERVAL_MILLISECS", "1500")
        .config();
    assert_eq!((config.name.as_str(), config.tasks_max), ("mac-pool-a", 12));
    let [upstream] = config.upstreams.as_slice() else { panic!("one upstream, not {:?}", config.upstreams) };
    assert_eq!((upstream.name.as_str(), upstream.delegate_name.as_str()), ("harness", "mac-pool-a"));
    assert_eq!(upstream.endpoint, "https://internal.example.test");
    assert_eq!((upstream.account_id.as_str(), upstream.account_secret.expose()), ("acct", SECRET));
    assert_eq!(upstream.poll_interval, Duration::from_millis(1500));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let scene = Scene::new(&format!("name = \"file\"\ntasks_max = 1\nstate_dir = \"/file\"\n{UPSTREAM}"))
        .environment("DLITE_NAME", "environment")
        .environment("DLITE_TASKS_MAX", "2")
        .flag("name", "flag");
    let config = scene.config();
    assert_eq!(config.name, "flag");
    assert_eq!(config.tasks_max, 2);
    assert_eq!(config.state_dir.to_str(), Some("/file"));
}

#[test]
fn our_own_name_wins_over_that_of_the_go_client() {
    let scene = Scene::new(UPSTREAM).environment("DLITE_TASKS_MAX", "3").environment("DLITE_PARALLEL_WORKERS", "4");
    assert_eq!(scene.config().tasks_max, 3);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let scene = Scene::new(UPSTREAM).environment("DLITE_TASKS_MAX", "").environment("DLITE_PARALLEL_WORKERS", "4");
    assert_eq!(scene.config().tasks_max, 4);
}

#[test]
fn of_two_flags_with_one_key_the_later_wins() {
    assert_eq!(Scene::new(UPSTREAM).flag("name", "first").flag("name", "second").config().name, "second");
}

#[test]
fn a_flag_reaches_an_upstream_by_name() {
    let second = UPSTREAM.replace("[[upstreams]]", "[[upstreams]]\nname = \"eu\"\ndelegate_name = \"eu\"");
    let scene = Scene::new(&format!("{UPSTREAM}{second}")).flag("upstreams[eu].poll_interval", "9s");
    let intervals: Vec<_> = scene.config().upstreams.iter().map(|upstream| upstream.poll_interval.as_secs()).collect();
    assert_eq!(intervals, [3, 9]);
}

#[test]
fn the_environment_reaches_the_first_of_several_upstreams_and_says_so() {
    let second = UPSTREAM.replace("[[upstreams]]", "[[upstreams]]\nname = \"eu\"\ndelegate_name = \"eu\"");
    let scene = Scene::new(&format!("{UPSTREAM}{second}")).environment("DLITE_POLL_INTERVAL_MILLISECS", "9000");
    let loaded = scene.loaded();
    let intervals: Vec<_> = loaded.config.upstreams.iter().map(|upstream| upstream.poll_interval.as_secs()).collect();
    assert_eq!(intervals, [9, 3]);
    assert!(loaded.warnings.iter().any(|warning| warning.to_string().contains("first of 2 upstreams")));
}

#[test]
fn an_upper_layers_secret_replaces_the_lower_ones_choice_of_a_file() {
    let scene = Scene::new(&UPSTREAM.replace("account_secret =", "account_secret_file = \"/nowhere\" #"))
        .environment("DLITE_ACCOUNT_SECRET", OTHER_SECRET);
    let upstream = &scene.config().upstreams[0];
    assert_eq!(upstream.account_secret.expose(), OTHER_SECRET);
    assert_eq!(upstream.account_secret_file, None);
}

#[test]
fn a_relative_path_in_the_file_starts_at_the_files_directory() {
    let scene = Scene::new(
        &format!("state_dir = \"state\"\n{UPSTREAM}").replace("account_secret =", "account_secret_file = \"s\" #"),
    );
    scene.file("s", &format!("{SECRET}\n"));
    assert_eq!(scene.config().state_dir, scene.path().join("state"));
    assert_eq!(scene.config().upstreams[0].account_secret.expose(), SECRET);
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = Scene::new(UPSTREAM).config();
    let seconds = Duration::from_secs;
    assert_eq!(config.name, "build-host");
    assert_eq!(config.tasks_max, 100);
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "info"));
    let runners = &config.runners;
    assert_eq!((runners.listen, runners.attempts_max), (None, 3));
    assert_eq!(runners.token_file.to_str(), Some("/var/lib/dlite/runner.token"));
    assert_eq!((runners.lease_ttl, runners.heartbeat_interval), (seconds(60), seconds(10)));
    assert_eq!((runners.accept_timeout, runners.reassign_margin), (seconds(10), seconds(5)));
    assert_eq!((runners.cancel_grace, runners.revoke_margin), (seconds(30), seconds(5)));
    assert_eq!(runners.no_runner_timeout, seconds(60));
    let upstream = &config.upstreams[0];
    assert_eq!((upstream.poll_interval, upstream.heartbeat_interval), (seconds(3), seconds(10)));
    assert_eq!((upstream.request_timeout, upstream.report_age_max), (seconds(30), seconds(24 * 3600)));
    assert_eq!((upstream.report_retry_min, upstream.report_retry_max), (Duration::from_millis(500), seconds(60)));
    assert_eq!((upstream.acquire_recovery_max, upstream.legacy_status_code), (seconds(600), LegacyStatusCode::Failed));
    assert_eq!((upstream.send_secret_in_body, upstream.tls.verify), (false, true));
    assert_eq!((&upstream.task_types, &upstream.host_name), (&None, &None));
}

#[test]
fn paths_follow_the_user_the_service_manager_and_the_xdg_names() {
    let paths = |scene: Scene| {
        let config = scene.config();
        [config.state_dir, config.runners.socket, config.admin.socket].map(|path| path.display().to_string())
    };
    let user = || {
        let mut scene = Scene::new(UPSTREAM).environment("HOME", "/home/ci");
        scene.options.host.superuser = false;
        scene
    };
    assert_eq!(paths(Scene::new(UPSTREAM)), ["/var/lib/dlite", "/run/dlite/runner.sock", "/run/dlite/admin.sock"]);
    let state = "/home/ci/.local/state/dlite";
    assert_eq!(paths(user()), [state.to_owned(), format!("{state}/runner.sock"), format!("{state}/admin.sock")]);
    let xdg = user().environment("XDG_STATE_HOME", "/s").environment("XDG_RUNTIME_DIR", "/r");
    assert_eq!(paths(xdg), ["/s/dlite", "/r/dlite/runner.sock", "/r/dlite/admin.sock"]);
    let service =
        user().environment("STATE_DIRECTORY", "/var/lib/a:/var/lib/b").environment("RUNTIME_DIRECTORY", "/run/a");
    assert_eq!(paths(service), ["/var/lib/a", "/run/a/runner.sock", "/run/a/admin.sock"]);
}

#[test]
fn no_two_options_share_a_name() {
    let mut names: Vec<String> = Vec::new();
    for option in OPTIONS {
        names.push(option.key.into());
        names.push(option.variable());
        names.extend(option.flag.map(|flag| format!("--{flag}")));
        names.extend(option.aliases.iter().map(|alias| alias.name.into()));
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
