//! A Chromium without a window, spoken to over its debugging pipe: no port, no further library.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A browser that starts on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names that it is installed under.
const NAMES: [&str; 5] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];

pub struct Browser {
    /// Ends with it.
    _child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    calls: u64,
    /// Of the one page.
    session: String,
    /// What happened and was not asked for.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub scheme: &'static str,
}

/// What the browser test needs; none: this machine lacks it, which was said.
pub struct Tools {
    pub browser: PathBuf,
    /// Source of the accessibility checker.
    pub axe: String,
}

// === impl Tools ===

impl Tools {
    /// From `DLITE_CHROMIUM` and `DLITE_AXE`, or from where they are usually. Where the environment promises them
    /// (`DLITE_REQUIRE_TOOLCHAINS=1`) their absence fails the test.
    pub fn find() -> Option<Self> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = || {
            let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
            NAMES.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
        };
        let browser = named("DLITE_CHROMIUM").or_else(installed);
        let usual = || std::env::temp_dir().join("dlite-ci-axe/node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(named("DLITE_AXE").unwrap_or_else(usual)).ok();
        let required = std::env::var("DLITE_REQUIRE_TOOLCHAINS").is_ok_and(|value| value == "1");
        match (browser, axe) {
            (Some(browser), Some(axe)) => Some(Self { browser, axe }),
            (browser, _) => {
                let missing = if browser.is_none() { "Chromium" } else { "axe-core" };
                assert!(!required, "{missing} is required and not here; .ci/run installs it");
                println!(
                    "skipped: {missing} is not here; .ci/run installs it, DLITE_CHROMIUM and DLITE_AXE name others"
                );
                None
            }
        }
    }
}

// === impl Browser ===

impl Browser {
    pub async fn start(tools: &Tools) -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        // The browser reads commands from descriptor 3 and writes answers to 4.
        let mut command = Command::new("sh");
        command.arg("-c").arg("exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null").arg(&tools.browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--hide-scrollbars", "--remote-debugging-pipe", "--no-proxy-server"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("the browser starts");
        let commands = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut browser = Self {
            _child: child,
            commands,
            answers,
            calls: 0,
            session: String::new(),
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    pub async fn view(&mut self, view: View) {
        let View { width, height, scheme, .. } = view;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Sends this cookie with every request to `url`.
    pub async fn sign_in(&mut self, url: &str, cookie: &str) {
        let (name, value) = cookie.split_once('=').expect("a pair");
        let cookie = json!({"name": name, "value": value, "url": url, "path": "/ui", "httpOnly": true});
        self.call("Network.setCookie", cookie).await;
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&mut self, url: &str) {
        self.events.clear();
        let began = self.call("Page.navigate", json!({"url": url})).await;
        assert!(began["errorText"].is_null(), "{url}: {began}");
        self.until(|event| event["method"] == "Page.loadEventFired").await;
        let status = self.eval("performance.getEntriesByType('navigation')[0].responseStatus").await;
        assert_eq!(status, 200, "{url}");
    }

    /// What an expression comes to, once that is known.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let said = self.call("Runtime.evaluate", ask).await;
        assert!(said["exceptionDetails"].is_null(), "{expression:.80}: {said}");
        said["result"]["value"].clone()
    }

    /// Evaluates until it is true, which it is not while one page gives way to the next.
    pub async fn wait_for(&mut self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        let guarded = format!("document.readyState === 'complete' && ({expression})");
        while self.eval(&guarded).await != true {
            assert!(Instant::now() < until, "never: {expression}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Milliseconds from the navigation to the first thing painted.
    pub async fn first_paint(&mut self) -> f64 {
        let painted = "new Promise((said) => new PerformanceObserver((list, me) => {
            const paint = list.getEntries().find((entry) => entry.name === 'first-contentful-paint');
            if (paint) { me.disconnect(); said(paint.startTime); }
        }).observe({type: 'paint', buffered: true}))";
        self.eval(painted).await.as_f64().expect("a time")
    }

    /// Errors and warnings of the page so far: of scripts, of requests, of the policy.
    pub async fn complaints(&mut self) -> Vec<String> {
        // Whatever was said before this is answered.
        self.eval("0").await;
        let is_bad = |level: &Value| ["error", "warning", "assert"].contains(&level.as_str().unwrap_or_default());
        let complaints = self.events.iter().filter_map(|event| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Log.entryAdded" if is_bad(&params["entry"]["level"]) => Some(params["entry"].to_string()),
                "Runtime.consoleAPICalled" if is_bad(&params["type"]) => Some(params["args"].to_string()),
                "Runtime.exceptionThrown" => Some(params.to_string()),
                "Network.responseReceived" if params["response"]["status"].as_u64()? >= 400 => {
                    Some(params["response"]["url"].to_string())
                }
                _ => None,
            }
        });
        complaints.collect()
    }

    /// What the accessibility checker finds on the page, one line for each.
    pub async fn axe(&mut self, source: &str) -> Vec<String> {
        self.eval(&format!("{source}; 0")).await;
        let found = self
            .eval(
                "axe.run(document).then((found) => found.violations.map((violation) => violation.id + ': ' +
                     violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + ' ' + node.failureSummary).join(' | ')))",
            )
            .await;
        found.as_array().expect("a list").iter().map(ToString::to_string).collect()
    }

    pub async fn screenshot(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64")
    }

    async fn until(&mut self, is_it: impl Fn(&Value) -> bool) {
        while !self.events.iter().any(&is_it) {
            let event = self.receive().await;
            self.events.push(event);
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut command = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).await.expect("the browser lives");
        loop {
            let answer = self.receive().await;
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    async fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.answers.read_until(0, &mut bytes));
        read.await.expect("the browser answers").expect("the browser lives");
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&bytes).expect("JSON")
    }
}
