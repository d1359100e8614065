//! The HTTP client against servers that are no manager.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dlite::{
    core::{
        effect::Call,
        id::TaskId,
        input::{AcquireError, Answer, CallError},
        record::Host,
        task::Identity,
    },
    upstreams::{
        Upstream,
        harness::{HEARTBEAT_TIMEOUT, Harness, Options},
        transport::{ANSWER_BYTES_MAX, Failure, Request, Response, Transport},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::support::{ACCOUNT, Pair, SECRET, adapter, register};

/// Serves one answer, whatever is asked, to each connection; its endpoint.
async fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    endpoint
}

async fn failed_poll(harness: &Harness) -> String {
    match harness.perform(Call::Poll { delegate_id: "d".into(), wanted: Vec::new() }).await {
        Answer::Poll(Err(CallError::Failed(text))) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_too_large_is_given_up_by_name() {
    let declared = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ANSWER_BYTES_MAX + 1).into_bytes();
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(ANSWER_BYTES_MAX + 1_000, b' ');
    for answer in [declared, endless] {
        let harness = adapter(&server(answer).await, |_| ());
        let text = failed_poll(&harness).await;
        assert!(text.ends_with("the answer is larger than 16777216 bytes"), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let pair = Pair::new().await;
    let location = pair.manager.endpoint();
    let answer = format!("HTTP/1.1 307 Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let harness = adapter(&server(answer.into_bytes()).await, |_| ());
    let before = pair.manager.record().arrivals.total();
    let text = failed_poll(&harness).await;
    assert!(text.contains("307") && text.contains("redirects are not followed"), "{text}");
    assert_eq!(pair.manager.record().arrivals.total(), before);
}

#[tokio::test]
async fn a_put_without_a_body_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let harness = adapter(&format!("http://{}", listener.local_addr().unwrap()), |_| ());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "hung up");
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let identity = Identity { delegate_id: "d-1".into(), instance_id: "i-1".into() };
    let call = Call::Acquire { task: TaskId(1), external_id: "t-1".into(), identity: Arc::new(identity) };
    assert!(matches!(harness.perform(call).await, Answer::Acquire { result: Err(AcquireError::Refused(_)), .. }));
    let request = server.await.unwrap();
    let line = format!(
        "PUT /api/agent/v2/delegates/d-1/tasks/t-1/acquire?accountId={ACCOUNT}&delegateInstanceId=i-1 HTTP/1.1"
    );
    assert_eq!(request.lines().next(), Some(&*line));
    for header in ["authorization: Delegate ", "content-type: application/json", "content-length: 0"] {
        assert_eq!(request.matches(header).count(), 1, "{header} in {request}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    let harness = adapter(&server(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()).await, |_| ());
    let text = failed_poll(&harness).await;
    assert!(text.contains("connection was lost"), "{text}");
}

#[tokio::test]
async fn nobody_listening_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text = failed_poll(&adapter(&endpoint, |_| ())).await;
    assert!(text.starts_with("GET /api/agent/delegates/{delegate}/task-events: can't connect: "), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn many_calls_at_once_use_their_connections_again() {
    const AT_ONCE: usize = 64;
    let pair = Pair::new().await;
    // Between adapter and manager: counts connections and passes bytes on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (opened, manager) = (Arc::new(AtomicUsize::new(0)), pair.manager.endpoint());
    tokio::spawn({
        let opened = opened.clone();
        async move {
            while let Ok((mut near, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let mut far = TcpStream::connect(manager.trim_start_matches("http://")).await.unwrap();
                tokio::spawn(async move {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    });
    let harness = Arc::new(adapter(&endpoint, |_| ()));
    for _ in 0..10 {
        let mut calls = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (harness, delegate_id) = (harness.clone(), pair.identity.delegate_id.clone());
            calls.spawn(async move { harness.perform(Call::Poll { delegate_id, wanted: Vec::new() }).await });
        }
        while let Some(answer) = calls.join_next().await {
            assert!(matches!(answer.unwrap(), Answer::Poll(Ok(_))));
        }
    }
    // A pool that kept few would open some hundreds.
    assert!(opened.load(Ordering::Relaxed) <= 2 * AT_ONCE, "{opened:?}");
}

/// Plays the other side without a socket: answers every call with this status.
struct Script {
    status: u16,
    seen: Mutex<Vec<Request>>,
}

impl Transport for Script {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + '_>> {
        self.seen.lock().unwrap().push(request);
        let body = Bytes::from_static(br#"{"resource":{"delegateId":"d"}}"#);
        Box::pin(async { Ok(Response { status: self.status, body }) })
    }
}

fn scripted(status: u16) -> (Arc<Script>, Harness) {
    let script = Arc::new(Script { status, seen: Mutex::default() });
    let mut options = Options::new("https://127.0.0.1:1/gateway//", ACCOUNT, SECRET.parse().unwrap(), "pool");
    options.request_timeout = Duration::from_secs(20);
    let harness = Harness::with_transport(options, script.clone()).unwrap();
    (script, harness)
}

#[tokio::test]
async fn a_token_serves_many_calls_until_it_is_refused() {
    let tokens = |script: &Script| {
        let seen = script.seen.lock().unwrap();
        seen.iter().map(|request| request.authorization.clone()).collect::<Vec<_>>()
    };
    for (status, distinct) in [(200, 1), (403, 1), (500, 1), (401, 3)] {
        let (script, harness) = scripted(status);
        for _ in 0..3 {
            harness.perform(Call::Poll { delegate_id: "d".into(), wanted: Vec::new() }).await;
        }
        let mut tokens = tokens(&script);
        tokens.dedup();
        assert_eq!(tokens.len(), distinct, "{status}");
    }
}

#[tokio::test]
async fn a_request_keeps_the_endpoints_path_and_carries_a_token() {
    let (script, harness) = scripted(200);
    register(&harness, None).await.unwrap();
    let host = Host { name: "h".into(), ip: "127.0.0.1".into() };
    harness.perform(Call::Heartbeat { delegate_id: "d".into(), host, running: Vec::new() }).await;
    harness.perform(Call::Poll { delegate_id: "d/../x y".into(), wanted: Vec::new() }).await;
    let seen = script.seen.lock().unwrap();
    let urls: Vec<_> = seen.iter().map(|request| request.url.strip_prefix("https://127.0.0.1:1").unwrap()).collect();
    assert_eq!(
        urls,
        [
            "/gateway/api/agent/delegates/register?accountId=acctEXAMPLE0000000001",
            "/gateway/api/agent/delegates/heartbeat-with-polling?accountId=acctEXAMPLE0000000001",
            "/gateway/api/agent/delegates/d%2F..%2Fx%20y/task-events?accountId=acctEXAMPLE0000000001",
        ]
    );
    let timeouts: Vec<_> = seen.iter().map(|request| request.timeout.as_secs()).collect();
    assert_eq!(timeouts, [20, HEARTBEAT_TIMEOUT.as_secs(), 20]);
    for request in seen.iter() {
        let token = request.authorization.strip_prefix("Delegate ").unwrap();
        assert!(dlite::upstreams::harness::token::open(&SECRET.parse().unwrap(), token).is_ok());
        assert!(!format!("{request:?}").contains(token));
    }
}
