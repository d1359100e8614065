//! What every request and answer of the page has to keep to.
//!
//! * The `Host` is a name of loopback, or the address that was asked: a name of somebody else's that resolves to here (DNS rebinding)
//!   lets no foreign page read this one.
//! * Who sends something comes from this page itself, by the browser's own word: the `Origin` is the `Host`. Orders need a key on top.
//! * Nothing but our own files runs, styles, or frames it; nothing of it is kept by caches.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Extension,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};

use super::{Page, visit};
use crate::health::http::Connection;

/// Our own files and nothing else; no inline script, no inline style, no frame, no other site.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // Without it a browser would not tell the origin of a form.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets through what may come in, and puts the policy on what goes out.
pub(super) async fn guard(
    State(page): State<Page>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&page, connection.local(), request.method(), request.headers()) {
        Some(refusal) => (StatusCode::FORBIDDEN, refusal).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Elsewhere than on loopback nothing is shown without a key.
pub(super) async fn needs_key_abroad(State(page): State<Page>, request: Request, next: Next) -> Response {
    if page.is_abroad() && page.keyring().find(request.headers()).is_none() {
        return Redirect::to(&visit::sign_in_path(request.uri())).into_response();
    }
    next.run(request).await
}

fn refusal(page: &Page, local: Option<SocketAddr>, method: &Method, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => host,
        _ => return Some("the request needs one Host\n".to_owned()),
    };
    if !is_ours(host, page.0.address, local) {
        return Some(format!(
            "the status page is not served under another name than this host's; open http://{}/ui/\n",
            page.0.address
        ));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        // Behind something that speaks TLS it is https.
        let authority = origin.and_then(|origin| {
            let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            rest.map(str::to_ascii_lowercase)
        });
        if authority != Some(host.to_ascii_lowercase()) {
            return Some("orders are taken from this page only, and this one comes from another site\n".to_owned());
        }
    }
    None
}

/// Whether `host` names this listener: by a name of loopback, or by the address it is bound to or was reached at. The port is left
/// out, since it is another one behind a forwarded port.
fn is_ours(host: &str, bound: SocketAddr, local: Option<SocketAddr>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(address) = name.parse::<IpAddr>() else { return false };
    let is_local = local.is_some_and(|local| local.ip().to_canonical() == address.to_canonical());
    address.is_loopback() || address == bound.ip() || is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_loopback_and_the_listeners_address_are_ours_and_no_other_name_is() {
        let bound = "192.0.2.7:9464".parse().unwrap();
        let local = Some("192.0.2.8:9464".parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1:9464",
            "127.9.9.9",
            "[::1]:80",
            "192.0.2.7",
            "192.0.2.8:1",
        ] {
            assert!(is_ours(host, bound, local), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.9", "[::2]", ":80"]
        {
            assert!(!is_ours(host, bound, local), "{host}");
        }
    }
}
