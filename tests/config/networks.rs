//! The way to an upstream: proxies from three places, the hosts without one, the client's certificate.

use dlite::{
    cli::config::{Output, show_to},
    config::{MASK, Source},
};

use crate::support::{Scene, UPSTREAM};

const HTTPS: &str = "http://joe:hunter2@outside.test:3128";

fn way(scene: &Scene) -> Option<String> {
    scene.config().upstreams[0].way().map(ToString::to_string)
}

fn source(scene: &Scene, key: &str) -> Source {
    let sources = scene.loaded().sources;
    sources.iter().find(|setting| setting.key.ends_with(key)).expect("an option of the table").source.clone()
}

#[test]
fn the_environment_names_a_proxy_and_the_configuration_wins() {
    let line = |line: &str| format!("{UPSTREAM}{line}\n");
    /// What it is about, a line of the file, the environment, and the proxy in force.
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
    let cases: &[Case] = &[
        ("nothing", "", &[], None),
        ("upper case", "", &[("HTTPS_PROXY", "http://a.test")], Some("http://a.test:80")),
        ("lower case", "", &[("https_proxy", "a.test:3128")], Some("http://a.test:3128")),
        ("upper before lower", "", &[("HTTPS_PROXY", "a.test"), ("https_proxy", "b.test")], Some("http://a.test:80")),
        ("an empty one is not set", "", &[("HTTPS_PROXY", " "), ("https_proxy", "b.test")], Some("http://b.test:80")),
        ("of the other scheme", "", &[("HTTP_PROXY", "a.test")], None),
        ("the file", "proxy = \"https://c.test\"", &[("HTTPS_PROXY", "a.test")], Some("https://c.test:443")),
        ("none", "proxy = \"none\"", &[("HTTPS_PROXY", "a.test")], None),
        ("our variable", "proxy = \"c.test\"", &[("DLITE_UPSTREAM_PROXY", "d.test")], Some("http://d.test:80")),
        ("no_proxy of the environment", "", &[("HTTPS_PROXY", "a.test"), ("NO_PROXY", "x, .example.test")], None),
        ("no_proxy of the file", "no_proxy = [\"*\"]", &[("HTTPS_PROXY", "a.test")], None),
        (
            "the file's no_proxy replaces the environment's",
            "no_proxy = [\"other.test\"]",
            &[("HTTPS_PROXY", "a.test"), ("NO_PROXY", "*")],
            Some("http://a.test:80"),
        ),
        (
            "rules of other programs",
            "",
            &[("HTTPS_PROXY", "a.test"), ("NO_PROXY", "<local>,10/8")],
            Some("http://a.test:80"),
        ),
    ];
    for (what, text, environment, expected) in cases {
        let scene =
            environment.iter().fold(Scene::new(&line(text)), |scene, (name, value)| scene.environment(name, value));
        assert_eq!(way(&scene).as_deref(), *expected, "{what}");
    }
}

#[test]
fn loopback_is_reached_without_the_proxy_of_the_environment() {
    for endpoint in ["http://localhost:1", "http://127.1.2.3", "http://[::1]:9"] {
        let text = UPSTREAM.replace("https://manager.example.test", endpoint);
        assert_eq!(way(&Scene::new(&text).environment("HTTP_PROXY", "a.test")), None, "{endpoint}");
        let configured = Scene::new(&format!("{text}proxy = \"a.test\"\n"));
        assert_eq!(way(&configured).as_deref(), Some("http://a.test:80"), "{endpoint}");
    }
}

#[test]
fn every_upstream_gets_the_proxy_of_its_scheme() {
    let second =
        UPSTREAM.replace("https://manager", "http://second").replace("[[upstreams]]", "[[upstreams]]\nname = \"b\"");
    let scene = Scene::new(&format!("{UPSTREAM}{second}"))
        .environment("HTTPS_PROXY", "s.test")
        .environment("http_proxy", "p.test");
    let ways: Vec<_> = scene.config().upstreams.iter().map(|up| up.way().map(ToString::to_string)).collect();
    assert_eq!(ways, [Some("http://s.test:80".to_owned()), Some("http://p.test:80".to_owned())]);
}

#[test]
fn a_proxys_password_is_shown_nowhere() {
    let in_file = Scene::new(&format!("{UPSTREAM}proxy = \"{HTTPS}\"\n"));
    for scene in [in_file, Scene::new(UPSTREAM).environment("HTTPS_PROXY", HTTPS)] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for output in [Output::Table, Output::Json] {
            show_to(&scene.options, true, output, &mut out, &mut err).expect("written");
        }
        let text = format!("{}{:?}", String::from_utf8_lossy(&out), scene.loaded());
        assert!(text.contains(&format!("{MASK}@outside.test:3128")), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("joe"), "{text}");
    }
    let bad = Scene::new(UPSTREAM).environment("HTTPS_PROXY", "socks5://joe:hunter2@a.test").complaint().to_string();
    assert!(bad.contains("HTTPS_PROXY") && bad.contains("none") && !bad.contains("hunter2"), "{bad}");
    let on_the_command_line = Scene::new(UPSTREAM).flag("upstreams[].proxy", HTTPS).complaint().to_string();
    assert!(on_the_command_line.contains("every user can read it") && !on_the_command_line.contains("hunter2"));
}

#[test]
fn a_rule_that_is_none_is_refused_in_the_configuration() {
    let complaint = Scene::new(&format!("{UPSTREAM}no_proxy = [\"ok.test\", \"10/8\"]\n")).complaint().to_string();
    assert!(complaint.contains("10/8") && complaint.contains("192.0.2.0/24"), "{complaint}");
}

#[test]
fn the_go_clients_certificate_is_found_and_told_so() {
    let scene = Scene::new(UPSTREAM);
    assert_eq!(
        (scene.config().upstreams[0].tls.client.clone(), source(&scene, "client_cert")),
        (None, Source::Default)
    );
    std::fs::create_dir(scene.path().join("mtls")).expect("made");
    scene.file("mtls/client.crt", "-----BEGIN CERTIFICATE-----\n");
    assert_eq!(scene.config().upstreams[0].tls.client, None, "one of the two is none");
    scene.file("mtls/client.key", "-----BEGIN EC PRIVATE KEY-----\n");
    let client = scene.config().upstreams[0].tls.client.clone().expect("found");
    assert_eq!(client.cert, scene.path().join("mtls/client.crt"));
    assert_eq!(source(&scene, "client_key").to_string(), "default, found on this host");
}

#[test]
fn a_certificate_needs_its_key_and_both_hold_what_they_should() {
    let scene = |lines: &str| Scene::new(&format!("{UPSTREAM}{lines}\n"));
    let alone = scene("tls.client_cert = \"c\"").complaint().to_string();
    assert!(alone.contains("client_key is missing"), "{alone}");
    let both = scene("tls.client_cert = \"c\"\ntls.client_key = \"k\"");
    both.file("c", "-----BEGIN CERTIFICATE-----\n");
    both.file("k", "nothing");
    assert!(both.complaint().to_string().contains("holds no PEM private key"), "{}", both.complaint());
    both.file("k", "-----BEGIN RSA PRIVATE KEY-----\n");
    both.mode("k", 0o644);
    assert!(both.loaded().warnings.iter().any(|warning| warning.to_string().contains("chmod 0600")));
}
