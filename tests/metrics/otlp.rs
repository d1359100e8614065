//! A collector of metrics, in both transports of OTLP: the same names, units and kinds as in the text.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use dlite::{
    config::OtlpProtocol,
    telemetry::metrics::definitions::{DEFINITIONS, Kind},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    metrics::v1::{Metric, metric::Data},
};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::{
    ask::metrics,
    scene::pause,
    support::{neighbour::Neighbour, patiently, place::Place},
};

/// The last state of each metric that came.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<BTreeMap<String, Metric>>>);

impl Collector {
    fn take(&self, request: ExportMetricsServiceRequest) {
        for resource in request.resource_metrics {
            let attributes = resource.resource.expect("who sends").attributes;
            assert!(attributes.iter().any(|attribute| attribute.key == "service.name"));
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                self.0.lock().expect("no panic").insert(metric.name.clone(), metric);
            }
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn take_http(State(collector): State<Collector>, body: Bytes) -> Vec<u8> {
    collector.take(ExportMetricsServiceRequest::decode(body).expect("a request"));
    ExportMetricsServiceResponse::default().encode_to_vec()
}

async fn collect(protocol: OtlpProtocol) {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    match protocol {
        OtlpProtocol::Grpc => {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let service = MetricsServiceServer::new(collector.clone());
            tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        }
        OtlpProtocol::Http => {
            let routes = Router::new().route("/v1/metrics", post(take_http)).with_state(collector.clone());
            tokio::spawn(async move { axum::serve(listener, routes).await });
        }
    }
    let place = Place::with(|config| {
        config.metrics.endpoint = Some(endpoint);
        config.metrics.protocol = protocol;
        config.metrics.interval = Duration::from_secs(3_600);
    });
    let daemon = place.start().await;
    let neighbour = Neighbour::of(&daemon).await;
    neighbour.ends_unhurt().await;
    let labels = [("task_type", "NEIGHBOUR"), ("outcome", "succeeded")];
    patiently(async {
        while metrics(daemon.http()).await.find("dlite_tasks_reported_total", &labels) != Some(2.0) {
            pause().await;
        }
    })
    .await;
    // The last sending of a stop has all that was counted.
    daemon.stop().await;

    let came = collector.0.lock().expect("no panic").clone();
    for name in ["dlite_tasks_reported_total", "dlite_credits", "dlite_journal_commit_seconds", "dlite_build_info"] {
        assert!(came.contains_key(name), "{name} did not come");
    }
    for (name, metric) in &came {
        let definition = DEFINITIONS.iter().find(|definition| definition.name == name);
        let definition = definition.unwrap_or_else(|| panic!("{name} is in no table"));
        assert_eq!((metric.unit.as_str(), metric.description.as_str()), (definition.unit.ucum(), definition.meaning));
        let fits = match (&metric.data, definition.kind) {
            (Some(Data::Sum(sum)), Kind::Counter) => sum.is_monotonic,
            (Some(Data::Gauge(_)), Kind::Gauge) | (Some(Data::Histogram(_)), Kind::Histogram(_)) => true,
            _ => false,
        };
        assert!(fits, "{metric:?}");
    }
    let Some(Data::Sum(reported)) = &came["dlite_tasks_reported_total"].data else { panic!("it is a counter") };
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    assert_eq!(reported.data_points[0].value, Some(Value::AsInt(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_same_metrics_over_grpc() {
    collect(OtlpProtocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_same_metrics_over_http() {
    collect(OtlpProtocol::Http).await;
}
