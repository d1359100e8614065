//! A proxy for HTTP, as small as can be: whatever host is asked for, it leads to one port of this machine.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What it does with whoever comes.
#[derive(Clone, Debug)]
pub enum Mood {
    Serve,
    /// Only with these, `user:password`; else 407.
    Wants(&'static str),
    /// This status to everything.
    Answers(u16),
    HangsUp,
}

pub struct Proxy {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: u16, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, lines) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let task = tokio::spawn({
            let (served, lines) = (served.clone(), lines.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (mood, served, lines) = (mood.clone(), served.clone(), lines.clone());
                    // A client that hangs up is no failure of the proxy.
                    tokio::spawn(async move { drop(serve(stream, to, mood, &served, &lines).await) });
                }
            }
        });
        Self { address, served, lines, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url_with(&self, credentials: &str) -> String {
        format!("http://{credentials}@{}", self.address)
    }

    /// Tunnels and requests that were let through.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// The first lines of all requests.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut near: TcpStream,
    to: u16,
    mood: Mood,
    served: &AtomicUsize,
    lines: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if near.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    lines.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
    let refuse = |status: u16| format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    match mood {
        Mood::HangsUp => return Ok(()),
        Mood::Answers(status) => return near.write_all(refuse(status).as_bytes()).await,
        Mood::Wants(pair) if !text.contains(&format!("Basic {}", STANDARD.encode(pair))) => {
            return near.write_all(refuse(407).as_bytes()).await;
        }
        Mood::Wants(_) | Mood::Serve => {}
    }
    served.fetch_add(1, Ordering::Relaxed);
    let mut far = TcpStream::connect(("127.0.0.1", to)).await?;
    if text.starts_with("CONNECT ") {
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        // The absolute form of the target becomes the plain one; later requests of the connection pass as they are, which servers
        // must understand, too.
        let (line, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
        let (method, url) = line.split_once(' ').unwrap_or((line, "/"));
        let path = url.strip_prefix("http://").and_then(|url| url.find('/').map(|slash| &url[slash..])).unwrap_or(url);
        far.write_all(format!("{method} {path}\r\n{rest}").as_bytes()).await?;
    }
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}
