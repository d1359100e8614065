//! Over TCP a runner shows its token.

use std::time::Duration;

use dlite::{
    proto::runner::v1::{
        AttachRequest, AttachResponse,
        runner_service_server::{RunnerService, RunnerServiceServer},
    },
    sdk::{RunError, Runner, Token},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

use crate::{
    delegate::{patiently, status},
    handlers::echo,
};

/// Refuses every token and tells the test which one it saw.
struct Doorman {
    seen: mpsc::Sender<String>,
}

#[tonic::async_trait]
impl RunnerService for Doorman {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(&self, request: Request<Streaming<AttachRequest>>) -> Result<Response<Self::AttachStream>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let _ = self.seen.send(authorization.unwrap_or_default().to_owned()).await;
        Err(status(Code::Unauthenticated, "TOKEN_INVALID"))
    }
}

#[tokio::test]
async fn a_token_comes_from_its_file_and_a_refused_one_ends_the_runner_without_being_printed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, mut seen) = mpsc::channel(1);
    let service = RunnerServiceServer::new(Doorman { seen: sender });
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener)));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cret\n").expect("written");

    let runner = Runner::new("runner-1").handler(echo());
    let connection = runner.connect(format!("http://{address}")).token(Token::File(file));
    let connection = connection.backoff(Duration::from_millis(1), Duration::from_millis(20));
    assert!(!format!("{connection:?}").contains("s3cret"));
    let error = patiently(connection.run(std::future::pending())).await.expect_err("refused");
    assert!(matches!(error, RunError::TokenInvalid { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
    assert_eq!(seen.recv().await.as_deref(), Some("Bearer s3cret"));
}
