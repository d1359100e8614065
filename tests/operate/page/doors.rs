//! Who may read and who may do what.

use std::os::unix::fs::PermissionsExt as _;

use dlite::{
    config::HttpPage,
    core::task::Outcome,
    health::{self, Vitals},
    page::{self, Doors, KEYS_MAX, Page},
    runners::access::Token,
    telemetry::metrics::Metrics,
};

use super::{
    ask::{body, get, get_with, post, send},
    scene::{STEP, Scene},
};
use crate::support::place::Place;

const PAGES: [&str; 6] = ["/ui/", "/ui/tasks", "/ui/runners", "/ui/sessions", "/ui/upstreams", "/ui/reports"];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[tokio::test]
async fn every_answer_of_the_page_carries_the_policy_and_keeps_to_it() {
    let scene = Scene::empty().await;
    let others = ["/ui/sign-in", "/ui/nowhere", "/ui/tasks/t-0-1", "/ui/assets/page.css", "/ui/assets/nothing", "/ui"];
    for path in PAGES.into_iter().chain(others) {
        let answer = get(scene.http(), path).await;
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{path}");
        assert!(answer.header("cache-control").is_some(), "{path}");
        assert!(!answer.body.contains(" style=") && !answer.body.contains("<style"), "{path}");
        assert!(!answer.body.contains("<script>") && !answer.body.contains(" onclick="), "{path}");
    }
    assert_eq!(get(scene.http(), "/ui/nowhere").await.status, 404);
    assert_eq!(get(scene.http(), "/ui").await.location(), "/ui/");
    scene.stop().await;
}

#[tokio::test]
async fn a_name_of_somebody_else_that_leads_here_reads_nothing() {
    let scene = Scene::empty().await;
    for host in ["evil.example", "evil.example:9464", "127.0.0.1.evil.example"] {
        let answer = send(scene.http(), "GET", "/ui/", &[("Host", host)], "").await;
        assert_eq!(answer.status, 403, "{host}");
        assert!(!answer.body.contains("build-host-7"), "{host}");
    }
    let twice = send(scene.http(), "GET", "/ui/", &[("Host", "localhost"), ("Host", "evil.example")], "").await;
    assert!(twice.status == 403 || twice.status == 400, "{twice:?}");
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:9464"] {
        assert_eq!(send(scene.http(), "GET", "/ui/", &[("Host", host)], "").await.status, 200, "{host}");
    }
    // Probes name hosts as they like.
    assert_eq!(send(scene.http(), "GET", "/healthz", &[("Host", "dlite")], "").await.status, 200);
    scene.stop().await;
}

#[tokio::test]
async fn an_order_needs_a_key_and_a_form_of_this_page() {
    let scene = Scene::empty().await;
    let http = scene.http();
    scene.prod.offer("a", STEP);
    let task = scene.in_state("a", "running").await;
    let (page, order) = (format!("/ui/tasks/{task}"), format!("/ui/tasks/{task}/cancel"));

    // Who has no key is asked for the token, and comes back to where the form was.
    assert!(!get(http, &page).await.body.contains("<form class=\"order\""), "no form without a key");
    let refused = post(http, &order, "", &[("reason", "no")]).await;
    assert_eq!(refused.status, 303);
    assert!(refused.location().starts_with("/ui/sign-in?next="), "{}", refused.location());
    let invented = post(http, &order, "dlite_page=0123", &[]).await;
    assert!(invented.status == 303 && invented.location().starts_with("/ui/sign-in"), "{invented:?}");

    // A key alone is not enough: another site's form has it, too.
    let cookie = scene.sign_in().await;
    let seal = get_with(http, &page, &[("Cookie", &cookie)]).await.seal();
    let form = [("seal", seal.as_str()), ("reason", "stuck since the morning")];
    assert_eq!(post(http, &order, &cookie, &[("reason", "unsealed")]).await.status, 403);
    assert_eq!(post(http, &order, &cookie, &[("seal", "0000")]).await.status, 403);
    let host = http.to_string();
    for origin in [None, Some("null"), Some("http://evil.example"), Some("http://127.0.0.1:1")] {
        let mut headers = vec![("Host", host.as_str()), ("Cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        let answer = send(http, "POST", &order, &headers, &body(&form)).await;
        assert_eq!(answer.status, 403, "{origin:?}");
    }
    let get = get_with(http, &format!("{order}?{}", body(&form)), &[("Cookie", &cookie)]).await;
    assert_eq!(get.status, 405, "nothing is done by a link");
    assert_eq!(scene.in_state("a", "running").await, task, "nobody was followed so far");

    // A span that is none changes nothing and says how to write it.
    let bad = post(http, &order, &cookie, &[("seal", &seal), ("grace", "soon")]).await;
    assert!(bad.status == 400 && bad.body.contains("such as 90s"), "{bad:?}");
    assert_eq!(scene.in_state("a", "running").await, task);

    let followed = post(http, &order, &cookie, &form).await;
    assert_eq!((followed.status, followed.location()), (303, format!("{page}?done=cancel").as_str()));
    let report = scene.prod.report("a").await;
    assert_eq!(report.finish.outcome, Outcome::Cancelled, "{report:?}");

    // After the sign-out the key opens nothing.
    assert_eq!(post(http, "/ui/sign-out", &cookie, &[]).await.status, 303);
    assert!(post(http, "/ui/drain", &cookie, &form).await.location().starts_with("/ui/sign-in"));
    scene.stop().await;
}

#[tokio::test]
async fn the_delegate_is_drained_and_resumed_from_the_page() {
    let scene = Scene::empty().await;
    let http = scene.http();
    let cookie = scene.sign_in().await;
    let seal = get_with(http, "/ui/", &[("Cookie", &cookie)]).await.seal();
    let drain = [("seal", seal.as_str()), ("mode", "finish_tasks"), ("grace", "1h"), ("reason", "new <disk>")];
    let done = post(http, "/ui/drain", &cookie, &drain).await;
    assert_eq!(done.location(), "/ui/?done=drain", "{done:?}");
    let shown = get_with(http, "/ui/", &[("Cookie", &cookie)]).await.body;
    assert!(shown.contains("new &lt;disk&gt;") && shown.contains("Take the drain back"), "{shown}");
    let again = post(http, "/ui/drain", &cookie, &drain).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert_eq!(post(http, "/ui/resume", &cookie, &[("seal", &seal)]).await.location(), "/ui/?done=resume");
    assert!(get(http, "/ui/").await.body.contains("pill good\">serving"));
    scene.stop().await;
}

#[tokio::test]
async fn a_key_is_given_for_the_token_alone_and_the_token_is_the_owners() {
    let scene = Scene::empty().await;
    let http = scene.http();
    let token = scene.token();
    assert_eq!(token.len(), 64);
    let mode = std::fs::metadata(scene.config.state_dir.join("admin.token")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for wrong in ["", "0000", &token[..63]] {
        let answer = post(http, "/ui/sign-in", "", &[("token", wrong)]).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    }
    let answer = post(http, "/ui/sign-in", "", &[("token", &token), ("next", "/ui/tasks?q=a")]).await;
    assert_eq!((answer.status, answer.location()), (303, "/ui/tasks?q=a"));
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.ends_with("; Path=/ui; HttpOnly; SameSite=Strict") && !cookie.contains(&token), "{cookie}");
    for elsewhere in ["//evil.example/ui/", "http://evil.example", "/metrics"] {
        let answer = post(http, "/ui/sign-in", "", &[("token", &token), ("next", elsewhere)]).await;
        assert_eq!(answer.location(), "/ui/", "{elsewhere}");
    }
    // Browsers that signed in are bounded: the first of them has to do it again.
    for _ in 0..KEYS_MAX {
        scene.sign_in().await;
    }
    let order = post(http, "/ui/resume", &answer.cookie(), &[]).await;
    assert!(order.location().starts_with("/ui/sign-in"), "{order:?}");
    scene.stop().await;
}

#[tokio::test]
async fn away_from_loopback_there_is_no_page_unless_it_is_wanted_and_then_none_without_a_key() {
    let abroad = "192.0.2.7:9464".parse().expect("an address");
    let refusal = page::refusal(HttpPage::Auto, abroad).expect("a refusal");
    assert!(refusal.contains("http.page = \"on\"") && refusal.contains("192.0.2.7:9464"), "{refusal}");
    assert!(page::refusal(HttpPage::Auto, "[::1]:80".parse().expect("an address")).is_none());
    assert!(page::refusal(HttpPage::On, abroad).is_none());

    let serve = |routes| {
        let vitals = Vitals::new();
        let metrics = Metrics::start(&Place::new().config, &vitals).expect("metrics");
        let (listener, address) = health::http::bind(([127, 0, 0, 1], 0).into()).expect("a listener");
        std::thread::spawn(health::http::serve(listener, vitals, metrics, routes, std::future::pending()));
        address
    };
    let off = serve(page::refuse(refusal.clone()));
    for path in PAGES {
        let answer = get(off, path).await;
        assert_eq!((answer.status, answer.body.trim_end()), (404, refusal.as_str()), "{path}");
    }
    assert_eq!(get(off, "/healthz").await.status, 200);

    // As bound, it is elsewhere; it is reached here all the same.
    let doors = Doors { token: Token::new(b"t"), address: abroad, vitals: Vitals::new() };
    let on = serve(Page::new(doors).routes());
    for path in PAGES.into_iter().chain(["/ui/live", "/ui/tasks/t-0-1/log"]) {
        let answer = get(on, path).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.location().starts_with("/ui/sign-in?next="), "{path}");
    }
    let cookie = post(on, "/ui/sign-in", "", &[("token", "t")]).await.cookie();
    let answer = get_with(on, "/ui/", &[("Cookie", &cookie)]).await;
    assert!(answer.status == 503 && answer.body.contains("The delegate starts"), "{answer:?}");
}

#[tokio::test]
async fn a_page_that_is_switched_off_says_so() {
    let scene = Scene::with(|config| config.http.page = HttpPage::Off).await;
    let answer = get(scene.http(), "/ui/").await;
    assert_eq!((answer.status, answer.body.trim_end()), (404, "the status page is off: http.page is \"off\""));
    assert_eq!(get(scene.http(), "/readyz").await.header("content-security-policy"), None);
    scene.stop().await;
}
