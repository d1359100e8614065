//! What the pages show.

use dlite::page::ROWS_MAX;

use super::{
    ask::{get, get_with},
    scene::{STEP, Scene},
};
use crate::support::stub::spec;

#[tokio::test]
async fn every_page_is_whole_when_there_is_nothing_to_show() {
    let scene = Scene::empty().await;
    for (path, text) in [
        ("/ui/", "No task is here."),
        ("/ui/tasks", "No task is here."),
        ("/ui/runners", "<h1>Runners</h1>"),
        ("/ui/sessions", "No session is open."),
        ("/ui/upstreams", "harness-prod"),
        ("/ui/reports", "None: every result is with its upstream."),
    ] {
        let answer = get(scene.http(), path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(answer.body.contains(text) && answer.body.ends_with("</html>"), "{path}: {}", answer.body);
    }
    let gone = get(scene.http(), "/ui/tasks/t-0-1").await;
    assert!(gone.status == 404 && gone.body.contains("no open task t-0-1"), "{gone:?}");
    assert_eq!(get(scene.http(), "/ui/sessions/s-0-1").await.status, 404);
    scene.stop().await;
}

#[tokio::test]
async fn a_busy_delegate_is_shown_on_every_page() {
    let scene = Scene::busy(3).await;
    let http = scene.http();
    let overview = get(http, "/ui/").await.body;
    for text in ["build-host-7", "linux-builder-1", "harness-prod", "Slots in use", "Zq8Xw2pLS0mVtYb1"] {
        assert!(overview.contains(text), "{text}: {overview}");
    }
    let running = get(http, "/ui/tasks?state=running").await.body;
    assert!(running.contains("Zq8Xw2pLS0mVtYb1") && !running.contains("1042"), "{running}");
    let found = get(http, "/ui/tasks?q=macos").await.body;
    assert!(!found.contains("Zq8Xw2pLS0mVtYb1") && found.contains("No task is here."), "{found}");
    let reports = get(http, "/ui/reports").await.body;
    let (dead, owed) = reports.split_once("id=\"owed\"").expect("two parts");
    assert!(dead.contains("1042") && !dead.contains("1043") && owed.contains("1043"), "{reports}");
    let sessions = get(http, "/ui/sessions").await.body;
    assert!(sessions.contains("api-gateway/deploy-staging") && sessions.contains("vm-runner-2"), "{sessions}");

    let task = scene.in_state("Zq8Xw2pLS0mVtYb1", "running").await;
    let shown = get(http, &format!("/ui/tasks/{task}")).await.body;
    for text in ["compiling, 38 of 112 crates", "Timeline", "payments", "acme", "Sign in"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn what_upstreams_and_runners_say_is_text_and_nothing_else() {
    let scene = Scene::empty().await;
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(2)>";
    scene.prod.offer(hostile, "NO_SUCH_TYPE'\"><b>");
    let mut listed = spec(STEP, b"{}");
    listed.labels = [("<i>key".to_owned(), "</dd><script>".to_owned())].into();
    listed.tenant = "<u>tenant".into();
    scene.prod.offer_spec("labelled", listed);
    let task = scene.in_state("labelled", "running").await;
    scene.in_state(hostile, "listed").await;
    let search = "/ui/tasks?q=%22%3E%3Cscript%3E&state=%3Cscript%3E&page=%3Cscript%3E&done=%3Cscript%3E";
    for path in ["/ui/", "/ui/tasks", search, &format!("/ui/tasks/{task}"), "/ui/sign-in?next=%22%3E%3Cscript%3E"] {
        let answer = get(scene.http(), path).await;
        assert_eq!(answer.status, 200, "{path}");
        for raw in ["<script>", "<img", "<b>", "<i>", "<u>"] {
            assert!(!answer.body.contains(raw), "{path} has {raw}: {}", answer.body);
        }
    }
    let shown = get(scene.http(), "/ui/tasks").await.body;
    assert!(shown.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
    let path = "/ui/tasks/%3Cscript%3E";
    let unknown = get(scene.http(), path).await;
    assert!(unknown.status == 404 && !unknown.body.contains("<script>"), "{unknown:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_lead_to_each_other() {
    let scene = Scene::empty().await;
    let all = ROWS_MAX + 7;
    for number in 0..all {
        scene.prod.offer(&format!("offer-{number:05}"), "NO_SUCH_TYPE");
    }
    scene.until(|tasks| tasks.len() == all).await;
    let rows = |body: &str| body.matches("<tr><th class=\"task\" scope=\"row\">").count();
    let first = get(scene.http(), "/ui/tasks").await.body;
    assert_eq!(rows(&first), ROWS_MAX);
    assert!(first.contains("page=2") && first.contains(&format!("of {all}")), "a way on");
    let second = get(scene.http(), "/ui/tasks?page=2").await.body;
    assert_eq!(rows(&second), 7);
    assert!(second.contains("page=1") && !second.contains("page=3"));
    // Beyond the last page is the last page.
    assert_eq!(rows(&get(scene.http(), "/ui/tasks?page=99").await.body), 7);
    let overview = get(scene.http(), "/ui/").await.body;
    assert!(rows(&overview) < 20, "the overview stays short");
    scene.stop().await;
}

#[tokio::test]
async fn the_lines_of_a_log_need_a_key_and_are_coloured_text() {
    let scene = Scene::empty().await;
    let http = scene.http();
    scene.prod.offer("a", STEP);
    let task = scene.in_state("a", "running").await;
    for line in ["\x1b[32mok\x1b[0m \x1b]0;title\x07<script>alert(1)</script>", "second"] {
        scene.lines.send(line.to_owned()).expect("the runner listens");
    }
    let path = format!("/ui/tasks/{task}/log");
    let cookie = scene.sign_in().await;
    let shown = crate::support::patiently(async {
        loop {
            let answer = get_with(http, &path, &[("Cookie", &cookie)]).await;
            if answer.status == 200 && answer.body.contains("second") {
                return answer.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(shown.contains("<span class=\"a2\">ok</span> &lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
    assert!(!shown.contains("title") || !shown.contains("0;title"), "{shown}");
    let without = get(http, &path).await;
    assert!(without.status == 303 && without.location().starts_with("/ui/sign-in?next=%2Fui%2Ftasks"), "{without:?}");
    let from = get_with(http, &format!("{path}?from=1"), &[("Cookie", &cookie)]).await.body;
    assert!(from.contains("second") && !from.contains("alert(1)"), "{from}");
    scene.stop().await;
}
