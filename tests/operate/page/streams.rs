//! Streams of events: what they tell, and that they take nothing from anybody else.

use std::{net::SocketAddr, time::Duration};

use dlite::page::STREAMS_MAX;
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    ask::{get, get_with, open},
    scene::{STEP, Scene},
};
use crate::support::patiently;

/// An open stream and what came so far.
struct Stream {
    stream: TcpStream,
    came: String,
}

impl Stream {
    async fn open(address: SocketAddr, path: &str, cookie: &str) -> Self {
        let host = address.to_string();
        let stream = open(address, "GET", path, &[("Host", &host), ("Cookie", cookie)], "").await;
        Self { stream, came: String::new() }
    }

    /// Waits until `text` came.
    async fn until(&mut self, text: &str) -> &str {
        patiently(async {
            while !self.came.contains(text) {
                let mut bytes = [0; 4096];
                let count = self.stream.read(&mut bytes).await.expect("it is open");
                assert!(count > 0, "it ended: {}", self.came);
                self.came += &String::from_utf8_lossy(&bytes[..count]);
            }
        })
        .await;
        &self.came
    }
}

#[tokio::test]
async fn a_change_is_told_to_whoever_has_a_page_open() {
    let scene = Scene::empty().await;
    let mut stream = Stream::open(scene.http(), "/ui/live", "").await;
    assert!(stream.until("event: change").await.contains("text/event-stream"));
    stream.came.clear();
    scene.prod.offer("a", "NO_SUCH_TYPE");
    stream.until("event: change").await;
    scene.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_leave_room_for_probes_and_pages() {
    let scene = Scene::empty().await;
    let http = scene.http();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut stream = Stream::open(http, "/ui/live", "").await;
        stream.until("event: change").await;
        streams.push(stream);
    }
    let refused = get(http, "/ui/live").await;
    assert!(refused.status == 503 && refused.body.contains("close some pages"), "{refused:?}");
    // They hold no place of a connection, so all of those are there.
    let probes: Vec<_> = (0..40).map(|_| tokio::spawn(async move { get(http, "/healthz").await.status })).collect();
    for probe in probes {
        assert_eq!(probe.await.expect("an answer"), 200);
    }
    assert_eq!(get(http, "/ui/").await.status, 200);
    // One that goes makes room.
    streams.pop();
    patiently(async {
        loop {
            let mut stream = Stream::open(http, "/ui/live", "").await;
            let mut first = [0; 12];
            stream.stream.read_exact(&mut first).await.expect("an answer");
            if first == *b"HTTP/1.1 200" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    scene.stop().await;
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let scene = Scene::empty().await;
    let http = scene.http();
    scene.prod.offer("a", STEP);
    let task = scene.in_state("a", "running").await;
    let cookie = scene.sign_in().await;
    scene.lines.send("first".to_owned()).expect("the runner listens");
    // The log begins with its first line.
    patiently(async {
        while !get(http, &format!("/ui/tasks/{task}")).await.body.contains("Log of the task") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let path = format!("/ui/tasks/{task}/log/stream?from=0");
    let unasked = get(http, &path).await;
    assert!(unasked.status == 303 && unasked.location().starts_with("/ui/sign-in"), "{unasked:?}");
    let mut stream = Stream::open(http, &path, &cookie).await;
    stream.until("first").await;
    scene.lines.send("<b>\r\ndata: second".to_owned()).expect("the runner listens");
    let came = stream.until("second").await;
    assert!(came.contains("&lt;b&gt;") && came.contains("id: 2"), "{came}");
    assert!(!came.lines().any(|line| line.starts_with("data: second")), "a line makes no event of its own: {came}");
    scene.finish.send_replace(true);
    stream.until("event: end").await;
    // A browser that was cut off goes on where it was.
    let host = http.to_string();
    let headers = [("Host", host.as_str()), ("Cookie", cookie.as_str()), ("Last-Event-ID", "1")];
    let stream = open(http, "GET", &path, &headers, "").await;
    let mut again = Stream { stream, came: String::new() };
    let came = again.until("event: end").await;
    assert!(came.contains("second") && !came.contains("first"), "{came}");
    let shown = get_with(http, &format!("/ui/tasks/{task}/log"), &[("Cookie", &cookie)]).await.body;
    assert!(shown.contains("closed") && !shown.contains("data-stream"), "{shown}");
    scene.stop().await;
}
