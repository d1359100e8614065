//! A browser's requests, down to the headers that it alone decides on.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::patiently;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

// === impl Answer ===

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn location(&self) -> &str {
        self.header("location").expect("it leads elsewhere")
    }

    /// The cookie that it sets, as a browser sends it back.
    pub fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").expect("a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    /// The first seal of a form on the page.
    pub fn seal(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"seal\" value=\"").expect("a form");
        rest.split('"').next().expect("its end").to_owned()
    }
}

/// A GET under the address's own name.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, &[]).await
}

pub async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let host = address.to_string();
    let mut all = vec![("Host", host.as_str())];
    all.extend(headers);
    send(address, "GET", path, &all, "").await
}

/// A form of the page at this address.
pub async fn post(address: SocketAddr, path: &str, cookie: &str, form: &[(&str, &str)]) -> Answer {
    let (host, origin) = (address.to_string(), format!("http://{address}"));
    let headers = [("Host", host.as_str()), ("Origin", origin.as_str()), ("Cookie", cookie)];
    send(address, "POST", path, &headers, &body(form)).await
}

/// A form's fields as they are sent.
pub fn body(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    patiently(async {
        let mut stream = open(address, method, path, headers, body).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
}

/// A request whose answer is read by the caller.
pub async fn open(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}
