//! The receiving end of OTLP, in both of its transports, with a memory of all it was sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch};
use tonic::{Request, Response, Status};

/// Longest wait for spans to come.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Http,
}

/// Stops with its runtime.
pub struct Receiver {
    pub transport: Transport,
    pub endpoint: String,
    book: watch::Sender<Book>,
}

/// All that came.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Each with the name of the service that made it.
    pub spans: Vec<(String, Span)>,
    /// Every request's bytes, for a search through all that was said.
    pub raw: Vec<u8>,
    /// Values of the `authorization` header.
    pub authorizations: BTreeSet<String>,
}

/// The spans of one trace, those told twice only once.
pub struct Trace(pub Vec<Span>);

#[derive(Clone)]
struct Inlet(Arc<watch::Sender<Book>>);

// === impl Receiver ===

impl Receiver {
    pub async fn start(transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let book = watch::Sender::new(Book::default());
        let inlet = Inlet(Arc::new(book.clone()));
        match transport {
            Transport::Grpc => {
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(inlet));
                tokio::spawn(server.serve_with_incoming(incoming));
            }
            Transport::Http => {
                let routes = Router::new().route("/v1/traces", post(take_http)).with_state(inlet);
                tokio::spawn(async move { axum::serve(listener, routes).await });
            }
        }
        Self { transport, endpoint, book }
    }

    /// The `[traces]` section of a delegate that sends here.
    pub fn section(&self) -> String {
        let protocol = match self.transport {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
        };
        format!("[traces]\nendpoint = {:?}\nprotocol = {protocol:?}\n", self.endpoint)
    }

    /// The environment of a runner that sends here.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let protocol = match self.transport {
            Transport::Grpc => "grpc",
            Transport::Http => "http/protobuf",
        };
        [("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.clone()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned())]
    }

    pub fn book(&self) -> Book {
        self.book.borrow().clone()
    }

    /// Waits until the trace is as wanted.
    pub async fn trace_when(&self, trace_id: &str, what: &str, wanted: impl Fn(&Trace) -> bool) -> Trace {
        let mut book = self.book.subscribe();
        let waited = tokio::time::timeout(PATIENCE, book.wait_for(|book| wanted(&book.trace(trace_id)))).await;
        let trace = self.book.borrow().trace(trace_id);
        assert!(waited.is_ok(), "not seen within {PATIENCE:?}: {what}; {:?}", trace.names());
        trace
    }

    /// The whole trace of a task, once its root has come, which is sent last.
    pub async fn whole(&self, trace_id: &str) -> Trace {
        self.trace_when(trace_id, "the task's own span", |trace| trace.0.iter().any(is_task)).await
    }
}

pub fn is_task(span: &Span) -> bool {
    span.name.starts_with("task ")
}

async fn take_http(
    State(inlet): State<Inlet>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    inlet.take(request, headers.get("authorization").and_then(|value| value.to_str().ok()));
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

#[tonic::async_trait]
impl TraceService for Inlet {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let authorization =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok().map(str::to_owned));
        self.take(request.into_inner(), authorization.as_deref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Inlet {
    fn take(&self, request: ExportTraceServiceRequest, authorization: Option<&str>) {
        self.0.send_modify(|book| {
            book.raw.extend(request.encode_to_vec());
            book.authorizations.extend(authorization.map(str::to_owned));
            for from in request.resource_spans {
                let attributes = from.resource.map(|resource| resource.attributes).unwrap_or_default();
                let service = text(&attributes, "service.name").unwrap_or_default();
                for name in ["service.version", "service.instance.id", "host.name"] {
                    assert!(text(&attributes, name).is_some(), "{service} has no {name}");
                }
                let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
                book.spans.extend(spans.map(|span| (service.clone(), span)));
            }
        });
    }
}

// === impl Book ===

impl Book {
    pub fn trace(&self, trace_id: &str) -> Trace {
        let spans = self.spans.iter().map(|(_, span)| span).filter(|span| hex(&span.trace_id) == trace_id);
        let unique: BTreeMap<&[u8], &Span> = spans.map(|span| (&span.span_id[..], span)).collect();
        let mut spans: Vec<Span> = unique.into_values().cloned().collect();
        spans.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
        Trace(spans)
    }
}

// === impl Trace ===

impl Trace {
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|span| span.name.as_str()).collect()
    }

    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    #[track_caller]
    pub fn one(&self, name: &str) -> &Span {
        match self.named(name)[..] {
            [span] => span,
            _ => panic!("not one {name} in {:?}", self.names()),
        }
    }

    /// One root, whose parent is `above` (empty: none), and no other span whose parent is not here.
    #[track_caller]
    pub fn assert_connected(&self, above: &str) {
        let ids: BTreeSet<&[u8]> = self.0.iter().map(|span| &span.span_id[..]).collect();
        let roots: Vec<&Span> = self.0.iter().filter(|span| !ids.contains(&span.parent_span_id[..])).collect();
        let [root] = roots[..] else {
            panic!(
                "{} roots: {:?} of {:?}",
                roots.len(),
                roots.iter().map(|span| &span.name).collect::<Vec<_>>(),
                self.names()
            )
        };
        assert!(is_task(root), "the root is {}", root.name);
        assert_eq!(hex(&root.parent_span_id), above);
        for span in &self.0 {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{} ends before it begins", span.name);
        }
    }
}

pub fn attribute(span: &Span, name: &str) -> Option<String> {
    text(&span.attributes, name)
}

pub fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error)
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
