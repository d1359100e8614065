//! What an operator does from the page to one upstream, one runner, one result: it needs the token, is shown, and goes on record.

use dlite::{core::input::ReportError, proto::admin::v1::ListAuditsRequest};

use super::{
    ask::{get, get_with, post},
    scene::{LOST, STEP, Scene},
};
use crate::support::patiently;

const HOSTILE: &str = "</p><script>alert(1)</script>";
const ESCAPED: &str = "&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;";

/// The newest deed on record: by which way, what, and what came of it.
async fn last_deed(scene: &Scene) -> (String, String, String) {
    let mut admin = scene.admin().await;
    let audits =
        patiently(admin.list_audits(ListAuditsRequest { limit: 1 })).await.expect("a list").into_inner().audits;
    let deed = audits.into_iter().next_back().expect("a deed");
    (deed.via, deed.action, deed.outcome)
}

fn deed(action: &str) -> (String, String, String) {
    ("page".to_owned(), action.to_owned(), "ok".to_owned())
}

/// Asks until the page has the text, which is not announced anywhere.
async fn shown(scene: &Scene, path: &str, text: &str) -> String {
    patiently(async {
        loop {
            let body = get(scene.http(), path).await.body;
            if body.contains(text) {
                return body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Who has no key sees no form and gives no order.
async fn needs_a_key(scene: &Scene, page: &str, order: &str, form: &[(&str, &str)]) {
    let looked = get(scene.http(), page).await.body;
    assert!(!looked.contains("<form class=\"order\"") && looked.contains("Sign in"), "{page}: {looked}");
    let refused = post(scene.http(), order, "", form).await;
    assert!(refused.status == 303 && refused.location().starts_with("/ui/sign-in"), "{order}: {refused:?}");
}

#[tokio::test]
async fn an_upstream_is_paused_and_resumed_from_the_page() {
    let scene = Scene::empty().await;
    let (http, page) = (scene.http(), "/ui/upstreams");
    scene.prod.offer("first", STEP);
    scene.in_state("first", "running").await;
    needs_a_key(&scene, page, "/ui/upstreams/pause", &[("upstream", "harness-prod")]).await;
    assert!(!get(http, page).await.body.contains("paused"), "nobody was followed so far");

    let cookie = scene.sign_in().await;
    let seal = get_with(http, page, &[("Cookie", &cookie)]).await.seal();
    let form = [("seal", seal.as_str()), ("upstream", "harness-prod"), ("reason", HOSTILE)];
    let unsealed = post(http, "/ui/upstreams/pause", &cookie, &form[1..]).await;
    assert_eq!(unsealed.status, 403, "{unsealed:?}");
    let paused = post(http, "/ui/upstreams/pause", &cookie, &form).await;
    assert_eq!(paused.location(), "/ui/upstreams?done=pause", "{paused:?}");
    assert_eq!(last_deed(&scene).await, deed("upstreams pause"));
    let looked = get_with(http, paused.location(), &[("Cookie", &cookie)]).await.body;
    for text in ["pill held\">paused", "The upstream is paused", ESCAPED, "Resume this upstream", "Pause this upstream"]
    {
        assert!(looked.contains(text), "{text}: {looked}");
    }
    assert!(!looked.contains(HOSTILE), "{looked}");
    scene.prod.offer("second", STEP);
    let tasks = shown(&scene, "/ui/tasks", "<code>upstream_paused</code>").await;
    assert!(tasks.contains("second"), "{tasks}");
    assert!(get(http, "/ui/tasks?q=upstream_paused").await.body.contains("second"));

    assert_eq!(post(http, "/ui/upstreams/pause", &cookie, &form).await.status, 409, "it is paused already");
    let unknown = [("seal", seal.as_str()), ("upstream", "nobody")];
    assert_eq!(post(http, "/ui/upstreams/pause", &cookie, &unknown).await.status, 404);
    let resumed = post(http, "/ui/upstreams/resume", &cookie, &form[..2]).await;
    assert_eq!(resumed.location(), "/ui/upstreams?done=unpause", "{resumed:?}");
    assert_eq!(last_deed(&scene).await, deed("upstreams resume"));
    scene.in_state("second", "running").await;
    scene.stop().await;
}

#[tokio::test]
async fn a_runner_is_drained_and_resumed_from_the_page() {
    let scene = Scene::empty().await;
    let (http, page) = (scene.http(), "/ui/runners");
    scene.prod.offer("first", STEP);
    scene.in_state("first", "running").await;
    needs_a_key(&scene, page, "/ui/runners/drain", &[("runner", "linux-builder-1")]).await;

    let cookie = scene.sign_in().await;
    let seal = get_with(http, page, &[("Cookie", &cookie)]).await.seal();
    let form = [("seal", seal.as_str()), ("runner", "linux-builder-1"), ("reason", HOSTILE), ("grace", "2h")];
    let bad = [form[0], form[1], ("grace", "soon")];
    let refused = post(http, "/ui/runners/drain", &cookie, &bad).await;
    assert!(refused.status == 400 && refused.body.contains("such as 90s"), "{refused:?}");
    let drained = post(http, "/ui/runners/drain", &cookie, &form).await;
    assert_eq!(drained.location(), "/ui/runners?done=runner-drain", "{drained:?}");
    assert_eq!(last_deed(&scene).await, deed("runners drain"));
    let looked = get_with(http, drained.location(), &[("Cookie", &cookie)]).await.body;
    for text in
        ["pill held\">drained", ESCAPED, "What it still does is stopped", "Resume this runner", "1 task, 0 sessions"]
    {
        assert!(looked.contains(text), "{text}: {looked}");
    }
    assert!(!looked.contains(HOSTILE), "{looked}");
    scene.prod.offer("second", STEP);
    shown(&scene, "/ui/tasks", "<code>runner_idle</code>").await;

    assert_eq!(post(http, "/ui/runners/drain", &cookie, &form).await.status, 409, "it is drained already");
    let unknown = [("seal", seal.as_str()), ("runner", "nobody")];
    assert_eq!(post(http, "/ui/runners/drain", &cookie, &unknown).await.status, 404);
    let resumed = post(http, "/ui/runners/resume", &cookie, &form[..2]).await;
    assert_eq!(resumed.location(), "/ui/runners?done=runner-resume", "{resumed:?}");
    assert_eq!(last_deed(&scene).await, deed("runners resume"));
    scene.in_state("second", "running").await;
    scene.stop().await;
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_reason_and_sent_after_all_or_dropped_from_the_page() {
    let scene = Scene::empty().await;
    let http = scene.http();
    scene.drone.fail_reports(Some(ReportError::Gone(HOSTILE.into())));
    scene.drone.offer("<img src=x>", LOST);
    let sent = scene.in_state("<img src=x>", "dead").await;
    scene.drone.offer("1042", LOST);
    let dropped = scene.in_state("1042", "dead").await;
    scene.drone.fail_reports(None);

    let (first, second) = (format!("/ui/reports/{sent}"), format!("/ui/reports/{dropped}"));
    for path in ["/ui/reports", &first] {
        let looked = get(http, path).await.body;
        for text in ["&lt;img src=x&gt;", ESCAPED, "pill bad\">dead", "succeeded"] {
            assert!(looked.contains(text), "{path}, {text}: {looked}");
        }
        assert!(!looked.contains("<img") && !looked.contains(HOSTILE), "{path}: {looked}");
    }
    assert!(get(http, &format!("/ui/tasks/{sent}")).await.body.contains(&first), "the task leads to its report");
    for order in ["replay", "drop"] {
        needs_a_key(&scene, &first, &format!("{first}/{order}"), &[("reason", "no")]).await;
    }
    assert!(scene.drone.read(|book| book.reports.is_empty()), "nobody was followed so far");

    let cookie = scene.sign_in().await;
    let seal = get_with(http, &first, &[("Cookie", &cookie)]).await.seal();
    let replayed = post(http, &format!("{first}/replay"), &cookie, &[("seal", &seal)]).await;
    assert_eq!(replayed.location(), "/ui/reports?done=replay", "{replayed:?}");
    scene.drone.report("<img src=x>").await;
    assert_eq!(last_deed(&scene).await, deed("reports replay"));

    let order = format!("{second}/drop");
    let without = post(http, &order, &cookie, &[("seal", &seal)]).await;
    assert!(without.status == 400 && without.body.contains("reason: needed"), "{without:?}");
    let done = post(http, &order, &cookie, &[("seal", &seal), ("reason", "the pipeline was deleted")]).await;
    assert_eq!(done.location(), "/ui/reports?done=drop", "{done:?}");
    assert_eq!(last_deed(&scene).await, deed("reports drop"));
    assert_eq!(get(http, &second).await.status, 404, "it is gone");
    shown(&scene, "/ui/reports", "None: every result is with its upstream.").await;
    assert!(scene.drone.read(|book| book.reports_of("1042").next().is_none()), "its upstream was never told");
    scene.stop().await;
}

#[tokio::test]
async fn a_task_says_what_it_waits_on_what_happened_to_it_and_what_its_log_came_to() {
    let scene = Scene::empty().await;
    scene.prod.fail_reports(Some(ReportError::Unanswered(HOSTILE.into())));
    scene.prod.offer("a", STEP);
    let page = format!("/ui/tasks/{}", scene.in_state("a", "running").await);
    scene.lines.send("one line".to_owned()).expect("the runner listens");
    let running = shown(&scene, &page, "1 line, 8 bytes, open").await;
    for text in ["Waiting on", "The wait ends when the handler has ended", "<code>runner</code>", "acquire intended"] {
        assert!(running.contains(text), "{text}: {running}");
    }
    let (_, events) = running.split_once("What happened").expect("its story");
    let at = |what: &str| events.find(what).unwrap_or_else(|| panic!("{what}: {events}"));
    assert!(at("acquired") < at("assigned") && at("assigned") < at("started"), "{events}");
    assert!(events.contains("linux-builder-1"), "{events}");

    scene.finish.send(true).expect("the runner listens");
    let reporting = shown(&scene, &page, ESCAPED).await;
    for text in ["1 line, 8 bytes, closed", "SHA-256", "How its report stands", "finished"] {
        assert!(reporting.contains(text), "{text}: {reporting}");
    }
    assert!(!reporting.contains(HOSTILE), "{reporting}");

    scene.prod.fail_reports(None);
    scene.prod.report("a").await;
    shown(&scene, &page, "is not here any more").await;
    scene.stop().await;
}
