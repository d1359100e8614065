//! Upstreams that are Drone servers.

use dlite::config::UpstreamKind;

use crate::support::{Scene, UPSTREAM};

const DRONE: &str = "[[upstreams]]\nname = \"drone\"\nkind = \"drone\"\nendpoint = \"https://ci.example.test/\"\n";

#[test]
fn a_server_needs_an_endpoint_and_a_secret_and_no_account() {
    let scene = Scene::new(&format!("{DRONE}secret = \"any words will do\"\n"));
    let upstream = scene.config().upstreams.remove(0);
    assert_eq!((upstream.kind, &*upstream.endpoint), (UpstreamKind::Drone, "https://ci.example.test"));
    assert_eq!(upstream.secret.unwrap().expose(), "any words will do");
    let complaint = Scene::new(DRONE).complaint().to_string();
    assert!(complaint.contains("upstreams[drone].secret") && complaint.contains("missing"), "{complaint}");
}

#[test]
fn a_secret_comes_from_its_file_and_shows_nowhere() {
    let scene = Scene::new(&format!("{DRONE}secret_file = \"drone-secret\"\n"));
    scene.file("drone-secret", "tok-example-1\n");
    let upstream = scene.config().upstreams.remove(0);
    assert_eq!(upstream.secret.as_ref().unwrap().expose(), "tok-example-1");
    assert!(!format!("{upstream:?}").contains("tok-example-1"));
    let both = Scene::new(&format!("{DRONE}secret_file = \"drone-secret\"\nsecret = \"other\"\n"));
    both.file("drone-secret", "tok-example-1\n");
    let complaint = both.complaint().to_string();
    assert!(complaint.contains("both secret and secret_file"), "{complaint}");
}

#[test]
fn options_of_the_other_kind_are_refused_by_name() {
    let complaint = Scene::new(&format!("{DRONE}secret = \"s\"\naccount_id = \"acct\"\n")).complaint().to_string();
    assert!(complaint.contains("account_id") && complaint.contains("\"harness\""), "{complaint}");
    let complaint = Scene::new(&format!("{UPSTREAM}secret = \"s\"\n")).complaint().to_string();
    assert!(complaint.contains("secret") && complaint.contains("\"drone\""), "{complaint}");
}

#[test]
fn a_drone_runners_environment_is_a_whole_configuration() {
    let scene = Scene::without_file()
        .environment("DRONE_RPC_HOST", "ci.example.test")
        .environment("DRONE_RPC_PROTO", "https")
        .environment("DRONE_RPC_SECRET", "tok-example-1");
    let upstream = scene.config().upstreams.remove(0);
    assert_eq!((&*upstream.name, upstream.kind), ("drone", UpstreamKind::Drone));
    assert_eq!(&*upstream.endpoint, "https://ci.example.test");
    assert_eq!(upstream.secret.unwrap().expose(), "tok-example-1");
}

#[test]
fn a_drone_runners_environment_does_not_touch_a_manager() {
    let scene = Scene::new(UPSTREAM).environment("DRONE_RPC_HOST", "ci.example.test");
    let upstream = scene.config().upstreams.remove(0);
    assert_eq!((upstream.kind, &*upstream.endpoint), (UpstreamKind::Harness, "https://manager.example.test"));
}
