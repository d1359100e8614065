//! The HTTP side: takes calls in and applies faults.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use tokio::net::TcpListener;

use super::{
    calls::{Call, NoCall},
    shared::Shared,
    wire::Reply,
};
use crate::doubles::{
    door::{BODY_BYTES_MAX, Door, House as _, Link},
    faults::Fault,
};

const HTML: &str =
    "<!doctype html><html><head><title>Sign in</title></head><body>Sign in to this network.</body></html>";

/// Serves until dropped.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let door = Door { listener, house: Arc::clone(&shared) };
    let app = Router::new().fallback(call).with_state(shared);
    axum::serve(door, app.into_make_service_with_connect_info::<Link>()).await
}

async fn call(State(shared): State<Arc<Shared>>, ConnectInfo(link): ConnectInfo<Link>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if shared.is_down() {
        shared.hung_up();
        return link.cut();
    }
    let call = match Call::parse(&parts.method, parts.uri.path()) {
        Ok(call) => call,
        Err(no_call) => {
            shared.no_route();
            let status = if no_call == NoCall::NotFound { 404 } else { 405 };
            return respond(Reply::text(status, "404 page not found"));
        }
    };
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return respond(Reply::text(413, "request entity too large"));
    };
    let fault = shared.arrived(call.route, parts.uri.query().unwrap_or(""), &body);
    match &fault {
        Some(Fault::CutBefore) => return link.cut(),
        Some(Fault::Status(status, text)) => return respond(Reply { status: *status, body: text.clone().into() }),
        Some(Fault::Html) => return respond(Reply { status: 200, body: HTML.into() }),
        _ => {}
    }
    let Some(mut reply) = shared.answer(call, &parts.uri, &parts.headers, &body).await else { return link.cut() };
    match fault {
        Some(Fault::CutBeforeAnswer) => return link.cut(),
        Some(Fault::Malformed) => reply.body = reply.body.slice(..reply.body.len() / 2),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hold(gate)) => gate.pass().await,
        _ => {}
    }
    // Who goes down while an answer is on its way does not send it.
    if shared.is_down() { link.cut() } else { respond(reply) }
}

fn respond(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    // A fault may carry any number.
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let no_cache = "no-cache, no-store, must-revalidate, private, max-age=0";
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(no_cache));
    response
}
