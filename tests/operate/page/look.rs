//! The page in a browser: painted at once, no error in its console, nothing for an accessibility checker, wide and narrow, light and
//! dark. `DLITE_PICTURES=DIRECTORY` keeps what it looked like.

use super::{
    browser::{Browser, Tools, View},
    scene::Scene,
};

const VIEWS: [View; 4] = [
    View { name: "light", width: 1280, height: 900, scheme: "light" },
    View { name: "dark", width: 1280, height: 900, scheme: "dark" },
    View { name: "phone-light", width: 380, height: 780, scheme: "light" },
    View { name: "phone-dark", width: 380, height: 780, scheme: "dark" },
];
/// Tasks on offer, beside those of the scene.
const TASKS: usize = 1_000;
/// Bound on the first paint, in milliseconds.
const PAINT_MAX: f64 = 300.0;
/// Tries at it: other tests run beside this one, and the bound is on the page, not on them.
const PAINT_TRIES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser_it_is_fast_quiet_accessible_and_fits() {
    let Some(tools) = Tools::find() else { return };
    let scene = Scene::busy(TASKS).await;
    let task = scene.in_state("Zq8Xw2pLS0mVtYb1", "running").await;
    let dead = scene.in_state("1042", "dead").await;
    for line in LOG {
        scene.lines.send((*line).to_owned()).expect("the runner listens");
    }
    let base = format!("http://{}", scene.http());
    let mut browser = Browser::start(&tools).await;
    browser.sign_in(&format!("{base}/ui/"), &scene.sign_in().await).await;

    let pages = [
        ("overview", "/ui/".to_owned()),
        ("tasks", "/ui/tasks".to_owned()),
        ("task", format!("/ui/tasks/{task}")),
        ("log", format!("/ui/tasks/{task}/log")),
        ("runners", "/ui/runners".to_owned()),
        ("sessions", "/ui/sessions".to_owned()),
        ("upstreams", "/ui/upstreams".to_owned()),
        ("reports", "/ui/reports".to_owned()),
        ("report", format!("/ui/reports/{dead}")),
        ("sign-in", "/ui/sign-in".to_owned()),
    ];
    for view in VIEWS {
        browser.view(view).await;
        for (name, path) in &pages {
            browser.open(&format!("{base}{path}")).await;
            let what = format!("{name} {}", view.name);
            let wide = browser.eval("document.documentElement.scrollWidth - window.innerWidth").await;
            assert!(wide.as_i64().is_some_and(|wide| wide <= 0), "{what} is {wide} pixels too wide");
            if *name != "sign-in" && *name != "log" {
                browser.wait_for("document.getElementById('live').textContent === 'live'").await;
            }
            if *name == "log" {
                browser.wait_for("document.querySelectorAll('#log .line').length >= 12").await;
            }
            keep(&mut browser, &what.replace(' ', "-")).await;
            // A thousand rows are one row as far as it is concerned.
            if *name == "tasks" {
                browser
                    .eval("document.querySelectorAll('tbody tr:nth-child(n+40)').forEach((row) => row.remove())")
                    .await;
            }
            let found = browser.axe(&tools.axe).await;
            assert!(found.is_empty(), "{what}: {found:#?}");
            let complaints = browser.complaints().await;
            assert!(complaints.is_empty(), "{what}: {complaints:#?}");
        }
    }

    for view in VIEWS {
        browser.view(view).await;
        let mut best = f64::INFINITY;
        for _ in 0..PAINT_TRIES {
            browser.open(&format!("{base}/ui/tasks")).await;
            let rows = browser.eval("document.querySelectorAll('tbody tr').length").await;
            assert_eq!(rows, TASKS, "all of them on one page");
            best = best.min(browser.first_paint().await);
            if best < PAINT_MAX {
                break;
            }
        }
        println!("first paint of {TASKS} tasks, {}: {best:.0} ms", view.name);
        assert!(best < PAINT_MAX, "{}: the first paint comes after {best:.0} ms at the best", view.name);
    }
    browser.view(VIEWS[0]).await;
    browser.open(&format!("{base}/ui/")).await;
    keep(&mut browser, "later").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser_a_page_follows_what_happens_and_a_violated_policy_is_heard() {
    let Some(tools) = Tools::find() else { return };
    let scene = Scene::empty().await;
    let base = format!("http://{}", scene.http());
    let mut browser = Browser::start(&tools).await;
    browser.open(&format!("{base}/ui/tasks")).await;
    browser.wait_for("document.getElementById('live').textContent === 'live'").await;
    scene.prod.offer("<b>comes by itself</b>", "NO_SUCH_TYPE");
    browser.wait_for("document.body.textContent.includes('<b>comes by itself</b>')").await;
    assert_eq!(browser.eval("document.querySelectorAll('#tasks b').length").await, 0);
    assert!(browser.complaints().await.is_empty());

    // Signing in and giving an order, by the keyboard's own means.
    browser.open(&format!("{base}/ui/sign-in")).await;
    let token = serde_json::to_string(&scene.token()).expect("a text");
    browser.eval(&format!("document.getElementById('token').value = {token}; document.forms[0].requestSubmit()")).await;
    browser.wait_for("location.pathname === '/ui/' && document.body.textContent.includes('Sign out')").await;
    browser.eval("document.querySelector('form[action=\"/ui/drain\"]').requestSubmit()").await;
    browser
        .wait_for("location.search === '?done=drain' && document.body.textContent.includes('drained by the operator')")
        .await;
    assert!(browser.complaints().await.is_empty());

    // What this test listens for is there to be heard.
    browser.eval("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>'), 0").await;
    let heard = browser.complaints().await;
    assert!(heard.iter().any(|complaint| complaint.contains("Content Security Policy")), "{heard:?}");
    scene.stop().await;
}

async fn keep(browser: &mut Browser, name: &str) {
    if let Some(directory) = std::env::var_os("DLITE_PICTURES") {
        let picture = browser.screenshot().await;
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.png")), picture)
            .expect("a picture is kept");
    }
}

/// What a build says.
const LOG: &[&str] = &[
    "\x1b[1mfetching dependencies\x1b[0m",
    "   \x1b[32mCompiling\x1b[0m payments-core v0.9.2",
    "   \x1b[32mCompiling\x1b[0m payments-ledger v0.9.2",
    "   \x1b[32mCompiling\x1b[0m payments-api v0.9.2",
    "\x1b[33mwarning\x1b[0m: unused variable: `retries`",
    "  \x1b[34m-->\x1b[0m src/api/retry.rs:41:9",
    "   \x1b[32mCompiling\x1b[0m payments-gateway v0.9.2",
    "    \x1b[32mFinished\x1b[0m `release` profile [optimized] target(s) in 48.13s",
    "     \x1b[32mRunning\x1b[0m unittests src/lib.rs",
    "running 214 tests",
    "test ledger::a_refund_is_booked_once ... \x1b[32mok\x1b[0m",
    "test api::a_retry_keeps_its_key ... \x1b[32mok\x1b[0m",
    "test api::an_old_key_is_refused ... \x1b[31mFAILED\x1b[0m",
];
