//! What is refused, where it is said to be, and what to do about it.

use dlite::config::options::UPSTREAMS_MAX;

use crate::support::{OTHER_SECRET, SECRET, Scene, UPSTREAM, place};

/// `(key, bad value as TOML, part of the reason)`, each in a file that is good otherwise.
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("name", "\"\"", "empty"),
    ("name", "7", "an integer where a text"),
    ("name", "\"a\\nb\"", "control character"),
    ("state_dir", "\"~/dlite\"", "~"),
    ("state_dir", "[]", "a list where a path"),
    ("tasks_max", "0", "out of bounds"),
    ("tasks_max", "10001", "out of bounds"),
    ("tasks_max", "-1", "out of bounds"),
    ("tasks_max", "99999999999999999999", "not a whole number, or far too large"),
    ("tasks_max", "1.5", "a float where a whole number"),
    ("tasks_max", "\"7\"", "a text where a whole number"),
    ("log.format", "\"yaml\"", "\"yaml\" is not one of its values"),
    ("log.filter", "\"a=b=c\"", "not a log filter"),
    ("runners.listen", "\"localhost:7070\"", "not an IP address with a port"),
    ("runners.lease_ttl", "60", "has no unit"),
    ("runners.lease_ttl", "\"60\"", "is not a duration"),
    ("runners.lease_ttl", "\"60 parsecs\"", "is not a duration"),
    ("runners.lease_ttl", "\"99999999999999999999s\"", "is not a duration"),
    ("runners.lease_ttl", "\"48h\"", "out of bounds"),
    ("runners.accept_timeout", "\"99ms\"", "out of bounds"),
    ("runners.accept_timeout", "1979-05-27", "a date or time where a duration"),
    ("admission.memory_high", "0", "out of bounds"),
    ("admission.memory_high", "101", "out of bounds"),
    ("admission.memory_low", "100", "out of bounds"),
    ("admission.memory_low", "95", "admission.memory_low, 95 %, is not below admission.memory_high, 90 %"),
    ("admission.cpu_high", "90", "admission.cpu_low, 90 %, is not below admission.cpu_high, 90 %"),
    ("admission.execute_margin", "100", "out of bounds"),
    ("admission.starts_per_second", "0", "out of bounds"),
    ("admission.interval", "\"1ms\"", "out of bounds"),
    ("runners.cleanup_reserve", "-1", "out of bounds"),
    ("upstreams[].weight", "0", "out of bounds"),
    ("upstreams[].name", "\"a/b\"", "not a simple name"),
    ("upstreams[].name", "\"-a\"", "not a simple name"),
    ("upstreams[].kind", "\"gitness\"", "not one of its values"),
    ("upstreams[].endpoint", "\"manager.example.test\"", "not a URL"),
    ("upstreams[].endpoint", "\"ftp://manager.example.test\"", "not an http or https URL"),
    ("upstreams[].endpoint", "\"https://user:word@manager.example.test\"", "user name or password"),
    ("upstreams[].endpoint", "\"https://manager.example.test?a=b\"", "query"),
    ("upstreams[].account_id", "\"a b\"", "not an id"),
    ("upstreams[].account_id", "\"..\"", "not an id"),
    ("upstreams[].account_secret", "\"0f1e\"", "neither 32 hex digits nor base64 of them"),
    ("upstreams[].account_secret", "7", "an integer where a text"),
    ("upstreams[].tags", "\"linux\"", "a text where a list"),
    ("upstreams[].tags", "[\"linux\", 7]", "entry 2: an integer where a text"),
    ("upstreams[].poll_interval", "\"9ms\"", "out of bounds"),
    ("upstreams[].tls.verify", "\"no\"", "a text where true or false"),
    ("upstreams[].tls.ca_files", "[\"/nowhere/ca.pem\"]", "/nowhere/ca.pem cannot be opened"),
];

#[test]
fn each_bad_value_is_refused_at_its_line_with_reason_and_fix() {
    for (key, value, reason) in BAD_VALUES {
        let name = key.trim_start_matches("upstreams[].");
        let text = if name == *key {
            format!("{name} = {value}\n{UPSTREAM}")
        } else {
            let base: Vec<&str> = UPSTREAM.lines().filter(|line| !line.starts_with(&format!("{name} ="))).collect();
            format!("{}\n{name} = {value}\n", base.join("\n"))
        };
        let complaint = Scene::new(&text).complaint();
        let line = text.lines().position(|line| line.starts_with(&format!("{name} ="))).expect("the line") + 1;
        let column = name.chars().count() + " = ".len() + 1;
        assert_eq!(place(&complaint), format!("dlite.toml:{line}:{column}"), "{complaint}");
        assert!(complaint.reason.contains(reason), "{key} = {value}: {complaint}");
        assert!(complaint.key.as_deref().is_some_and(|key| key.ends_with(name)), "{complaint}");
        assert!(complaint.fix.is_some(), "{complaint}");
    }
}

#[test]
fn three_planted_mistakes_in_the_file_and_two_beside_it_are_found_in_one_go() {
    let scene = Scene::new(
        "tasks_max = 0\n\n[runners]\nlease_tll = \"90s\"\n\n[[upstreams]]\nendpoint = \"https://m.example.test\"\naccount_id = \"acct\"\n",
    )
    .environment("DLITE_LOG_FORMAT", "yaml")
    .flag("runners.attempts_max", "none");
    let refused = scene.refused();
    let found: Vec<_> = refused.iter().map(|c| (place(c), c.key.clone().unwrap_or_default())).collect();
    let expected = [
        ("dlite.toml:1:13", "tasks_max"),
        ("dlite.toml:4:1", "runners.lease_tll"),
        ("dlite.toml:6:1", "upstreams[harness].account_secret"),
        ("environment DLITE_LOG_FORMAT", "log.format"),
        ("flag --set runners.attempts_max", "runners.attempts_max"),
    ];
    assert_eq!(found, expected.map(|(place, key)| (place.to_owned(), key.to_owned())));
    assert!(refused.to_string().ends_with("5 mistakes in the configuration"), "{refused}");
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    for (text, nearest) in [
        ("nmae = \"a\"\n", "name"),
        ("lease_ttl = \"90s\"\n", "runners.lease_ttl"),
        ("[runners]\nlease_tll = \"90s\"\n", "runners.lease_ttl"),
        ("[log]\nformt = \"json\"\n", "log.format"),
    ] {
        let complaint = Scene::new(&format!("{text}{UPSTREAM}")).complaint();
        assert_eq!(complaint.nearest.as_deref(), Some(nearest), "{complaint}");
        assert!(complaint.to_string().contains(&format!("nearest known: {nearest}")), "{complaint}");
    }
    let complaint = Scene::new(&format!("{UPSTREAM}pol_interval = \"3s\"\n")).complaint();
    assert_eq!(complaint.nearest.as_deref(), Some("upstreams[].poll_interval"));
    let complaint = Scene::new(UPSTREAM).flag("runers.lease_ttl", "3s").complaint();
    assert_eq!(complaint.nearest.as_deref(), Some("runners.lease_ttl"));
}

#[test]
fn a_misspelt_variable_is_a_warning_with_the_nearest_known_name_and_a_foreign_one_nothing() {
    let scene = Scene::new(UPSTREAM).environment("DLITE_ACOUNT_ID", "a").environment("DLITE_ZZZ_QQQ", "b");
    let warnings = scene.loaded().warnings;
    let [warning] = warnings.as_slice() else { panic!("one warning, not {warnings:#?}") };
    assert_eq!(warning.nearest.as_deref(), Some("DLITE_ACCOUNT_ID"));
}

#[test]
fn a_misspelt_variable_is_told_beside_the_mistake_it_causes() {
    let report = Scene::without_file().environment("DLITE_ACOUNT_ID", "a").refused().to_string();
    assert!(report.starts_with("warning: environment DLITE_ACOUNT_ID: unknown variable, ignored\n"), "{report}");
    assert!(report.ends_with("\n1 mistake in the configuration"), "{report}");
}

#[test]
fn bad_values_of_the_environment_are_refused_by_the_name_that_gave_them() {
    for (name, value, reason) in [
        ("DLITE_PARALLEL_WORKERS", "many", "not a whole number"),
        ("DLITE_POLL_INTERVAL_MILLISECS", "3s", "not a number of milliseconds"),
        ("DLITE_POLL_INTERVAL_MILLISECS", "5", "out of bounds"),
        ("DLITE_UPSTREAM_POLL_INTERVAL", "3", "is not a duration"),
        ("DLITE_MANAGER_ENDPOINT", "manager", "not a URL"),
        ("DLITE_UPSTREAM_TLS_VERIFY", "no", "true or false"),
    ] {
        let complaint = Scene::new(UPSTREAM).environment(name, value).complaint();
        assert_eq!(place(&complaint), format!("environment {name}"));
        assert!(complaint.reason.contains(reason), "{complaint}");
    }
}

#[test]
fn a_bad_value_is_refused_even_where_an_upper_layer_overrides_it() {
    let complaint = Scene::new(&format!("tasks_max = 0\n{UPSTREAM}")).flag("tasks_max", "5").complaint();
    assert_eq!(place(&complaint), "dlite.toml:1:13");
}

#[test]
fn no_upstream_at_all_is_refused_with_what_to_do() {
    for scene in [Scene::new(""), Scene::new("upstreams = []\n"), Scene::without_file()] {
        let complaint = scene.complaint();
        assert_eq!(complaint.key.as_deref(), Some("upstreams"));
        let text = complaint.to_string();
        assert!(text.contains("[[upstreams]]") && text.contains("DLITE_MANAGER_ENDPOINT"), "{text}");
    }
}

#[test]
fn all_that_an_upstream_lacks_is_told_at_its_header() {
    let refused = Scene::new("name = \"a\"\n[[upstreams]]\n").refused();
    let found: Vec<_> = refused.iter().map(|c| (place(c), c.key.clone().unwrap_or_default())).collect();
    let keys = ["account_id", "account_secret", "endpoint"].map(|key| format!("upstreams[harness].{key}"));
    assert_eq!(found, keys.map(|key| ("dlite.toml:2:1".to_owned(), key)));
}

#[test]
fn options_that_do_not_fit_together_are_refused_at_the_one_set_last() {
    for (text, key, reason) in [
        ("[runners]\nlease_ttl = \"20s\"\n", "runners.lease_ttl", "no room for three heartbeats"),
        ("[runners]\nheartbeat_interval = \"21s\"\n", "runners.heartbeat_interval", "no room for three heartbeats"),
        ("[runners]\nsocket = \"/run/dlite/admin.sock\"\n", "runners.socket", "one path for both"),
    ] {
        let complaint = Scene::new(&format!("{text}{UPSTREAM}")).complaint();
        assert_eq!(complaint.key.as_deref(), Some(key));
        assert!(complaint.reason.contains(reason), "{complaint}");
    }
    let complaint = Scene::new(&format!("{UPSTREAM}report_retry_min = \"61s\"\n")).complaint();
    assert_eq!(complaint.key.as_deref(), Some("upstreams[harness].report_retry_min"));
    let fitting = "[runners]\nlease_ttl = \"300ms\"\nheartbeat_interval = \"100ms\"\n";
    assert_eq!(Scene::new(&format!("{fitting}{UPSTREAM}")).config().runners.lease_ttl.as_millis(), 300);
}

#[test]
fn two_upstreams_share_neither_name_nor_identity() {
    let refused = Scene::new(&format!("{UPSTREAM}{UPSTREAM}")).refused();
    let keys: Vec<_> = refused.iter().filter_map(|complaint| complaint.key.clone()).collect();
    assert_eq!(keys, ["upstreams[harness].delegate_name", "upstreams[harness].name"]);
    assert!(refused.iter().all(|complaint| place(complaint) == "dlite.toml:5:1"), "{refused}");
}

#[test]
fn a_socket_path_may_have_107_bytes() {
    let path = |len: usize| format!("/{}", "s".repeat(len - 1));
    let text = |len| format!("[runners]\nsocket = {:?}\n{UPSTREAM}", path(len));
    assert_eq!(Scene::new(&text(107)).config().runners.socket.as_os_str().len(), 107);
    assert!(Scene::new(&text(108)).complaint().reason.contains("108 bytes long"));
    let mut home = Scene::new(UPSTREAM).environment("HOME", &path(100));
    home.options.host.superuser = false;
    assert!(home.refused().iter().all(|complaint| complaint.reason.contains("bytes long")));
}

#[test]
fn no_home_means_no_default_for_the_state_directory_and_one_complaint() {
    let mut scene = Scene::new(UPSTREAM);
    scene.options.host.superuser = false;
    assert_eq!(scene.complaint().key.as_deref(), Some("state_dir"));
}

#[test]
fn sections_and_lists_of_the_wrong_shape_are_refused() {
    let complaint = Scene::new(&format!("runners = 3\n{UPSTREAM}")).complaint();
    assert!(complaint.to_string().contains("write [runners] above its options"), "{complaint}");
    for text in ["upstreams = 3\n", "upstreams = [3]\n", "[upstreams]\nname = \"a\"\n"] {
        let complaint = Scene::new(text).complaint();
        assert!(complaint.to_string().contains("[[upstreams]]"), "{complaint}");
    }
}

#[test]
fn more_upstreams_than_the_bound_are_refused_once() {
    let scene = Scene::new(&"[[upstreams]]\n".repeat(UPSTREAMS_MAX + 1));
    let refused = scene.refused();
    let count: Vec<_> = refused.iter().filter(|complaint| complaint.key.as_deref() == Some("upstreams")).collect();
    assert_eq!(count.iter().map(|c| place(c)).collect::<Vec<_>>(), ["dlite.toml:33:1"]);
    assert!(count.iter().all(|complaint| complaint.reason == "33 of them"), "{refused}");
}

#[test]
fn a_file_of_the_largest_size_made_of_mistakes_is_refused_and_nothing_worse() {
    let len = dlite::config::FILE_BYTES_MAX as usize;
    let keys: String = (0..20_000).map(|number| format!("k{number} = 1\n")).collect();
    assert_eq!(Scene::new(&format!("{keys}{UPSTREAM}")).refused().iter().count(), 20_000);
    for text in ["[".repeat(len), format!("a = {}", "[".repeat(len - 4)), "[[upstreams]]\n".repeat(len / 14)] {
        assert!(Scene::new(&text).refused().iter().next().is_some());
    }
}

#[test]
fn broken_syntax_is_told_by_line_together_with_other_mistakes_and_nothing_is_said_to_be_missing() {
    let refused = Scene::new("tasks_max = 0\nname = \"open\n\n[[upstreams]]\n").refused();
    let places: Vec<_> = refused.iter().map(place).collect();
    assert!(places.contains(&"dlite.toml:1:13".to_owned()), "{refused}");
    assert!(places.iter().any(|place| place.starts_with("dlite.toml:2:")), "{refused}");
    assert!(!refused.to_string().contains("missing"), "{refused}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let mut scene = Scene::without_file();
    scene.options.file = Some(scene.path().join("absent.toml"));
    assert!(scene.complaint().to_string().contains("absent.toml: cannot be opened"));
    scene.options.file = Some(scene.path().to_path_buf());
    assert!(scene.complaint().reason.contains("cannot be read"));

    let scene = Scene::new("");
    std::fs::write(scene.path().join("dlite.toml"), [0xff, 0xfe]).expect("written");
    assert!(scene.complaint().reason.contains("not UTF-8"));
    let large = "#".repeat(dlite::config::FILE_BYTES_MAX as usize + 1);
    assert!(Scene::new(&large).complaint().reason.contains("larger than"));
}

#[test]
fn the_secrets_file_is_looked_into() {
    let text = UPSTREAM.replace("account_secret =", "account_secret_file = \"s\" #");
    let scene = Scene::new(&text);
    assert!(scene.complaint().reason.contains("cannot be opened"));
    scene.file("s", "not a secret");
    assert!(scene.complaint().reason.contains("neither 32 hex digits nor base64"));
    scene.file("s", &"0".repeat(5000));
    assert!(scene.complaint().reason.contains("larger than"));
    scene.file("s", SECRET);
    assert_eq!(scene.loaded().warnings, []);
    scene.mode("s", 0o644);
    let warnings = scene.loaded().warnings;
    assert!(warnings.iter().any(|warning| warning.reason.contains("mode 0644")), "{warnings:?}");
}

#[test]
fn a_secret_and_a_file_of_one_in_the_same_layer_are_refused() {
    let scene = Scene::new(&format!("{UPSTREAM}account_secret_file = \"s\"\n"));
    scene.file("s", OTHER_SECRET);
    assert!(scene.complaint().reason.contains("both account_secret and account_secret_file"));
}

#[test]
fn what_is_allowed_but_unsafe_is_a_warning() {
    let text = UPSTREAM.replace("https:", "http:") + "send_secret_in_body = true\ntls.verify = false\n";
    let scene = Scene::new(&text);
    let keys: Vec<_> = scene.loaded().warnings.iter().filter_map(|warning| warning.key.clone()).collect();
    let expected = ["endpoint", "send_secret_in_body", "tls.verify"].map(|key| format!("upstreams[harness].{key}"));
    assert_eq!(keys, expected);
    scene.mode("dlite.toml", 0o644);
    assert!(scene.loaded().warnings.iter().any(|warning| warning.reason.contains("mode 0644")));
    for loopback in ["http://127.0.0.1:80", "http://[::1]:80", "http://localhost"] {
        let text = UPSTREAM.replace("https://manager.example.test", loopback);
        assert_eq!(Scene::new(&text).loaded().warnings, [], "{loopback}");
    }
}

#[test]
fn an_admin_command_needs_no_more_than_the_sockets_path() {
    let scene = Scene::new("[admin]\nsocket = \"/srv/admin.sock\"\n[[upstreams]]\n");
    assert_eq!(dlite::config::admin_socket(&scene.options).expect("a path").to_str(), Some("/srv/admin.sock"));
    let scene = Scene::new("upstreams = 3\n");
    assert!(dlite::config::admin_socket(&scene.options).is_ok());
    let scene = Scene::new("[admin\n");
    assert!(dlite::config::admin_socket(&scene.options).is_err());
    let scene = Scene::new("nmae = \"a\"\n[admin]\nsocket = 7\n");
    let refused = dlite::config::admin_socket(&scene.options).expect_err("no path");
    let keys: Vec<_> = refused.iter().filter_map(|complaint| complaint.key.clone()).collect();
    assert_eq!(keys, ["admin.socket"]);
}
