//! The HTTP side: takes calls in and applies faults.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use tokio::net::TcpListener;

use super::{Shared, calls::Call, dev, wire::Reply};
use crate::doubles::{
    door::{BODY_BYTES_MAX, Door, House as _, Link},
    faults::Fault,
};

const HARNESS_ERROR: HeaderName = HeaderName::from_static("x-harness-error");

/// Serves until dropped.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let door = Door { listener, house: Arc::clone(&shared) };
    let app = Router::new().merge(dev::routes()).fallback(call).with_state(shared);
    axum::serve(door, app.into_make_service_with_connect_info::<Link>()).await
}

async fn call(State(shared): State<Arc<Shared>>, ConnectInfo(link): ConnectInfo<Link>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if shared.is_down() {
        shared.hung_up();
        return link.cut();
    }
    let Some(call) = Call::parse(parts.uri.path()) else {
        shared.no_route();
        return respond(Reply::no_route(404));
    };
    let route = call.route();
    if parts.method != route.method() {
        return respond(Reply::no_route(405));
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return respond(Reply::error(413, "DEFAULT_ERROR_CODE", "Request entity too large"));
    };
    let fault = shared.arrived(route, parts.uri.query().unwrap_or(""), &body);
    match &fault {
        Some(Fault::CutBefore) => return link.cut(),
        Some(Fault::Status(status, body)) => return respond(Reply { status: *status, ..Reply::json(body.clone()) }),
        Some(Fault::Html) => return respond(Reply { content_type: "text/html", ..Reply::json(HTML) }),
        _ => {}
    }
    let mut reply = shared.answer(call, &parts.uri, &parts.headers, &body);
    shared.changed.notify_waiters();
    match fault {
        Some(Fault::CutBeforeAnswer) => return link.cut(),
        Some(Fault::Malformed) => reply = broken_off(&reply),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hold(gate)) => gate.pass().await,
        _ => {}
    }
    // Who goes down while an answer is on its way does not send it.
    if shared.is_down() { link.cut() } else { respond(reply) }
}

const HTML: &str =
    "<!doctype html><html><head><title>Sign in</title></head><body>Sign in to this network.</body></html>";

/// 200 and the first half of the body; of an empty one, the beginning of an envelope.
fn broken_off(reply: &Reply) -> Reply {
    match reply.body.len() {
        0 | 1 => Reply::json(&br#"{"metaData":{},"resource":"#[..]),
        bytes => Reply::json(reply.body.slice(..bytes / 2)),
    }
}

pub(super) fn respond(reply: Reply) -> Response {
    let has_body = !reply.body.is_empty();
    let mut response = Response::new(Body::from(reply.body));
    // A fault may carry any number.
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    if let Some(code) = reply.harness_error {
        response.headers_mut().insert(HARNESS_ERROR, HeaderValue::from_static(code));
    }
    response
}
