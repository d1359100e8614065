//! The operator's end of the admin socket.

use std::path::{Path, PathBuf};

use tonic::transport::{Channel, Endpoint};

use crate::proto::admin::v1::admin_service_client::AdminServiceClient;

/// Nobody answers at the socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "no delegate answers at {path}: is `dlite run` running, with this admin.socket (--admin-socket), as a user you may act for?"
)]
pub struct Unreachable {
    pub path: PathBuf,
    #[source]
    source: tonic::transport::Error,
}

/// Connects to the delegate that serves `path`.
///
/// # Errors
/// [`Unreachable`] if nobody listens there or the socket may not be opened.
pub async fn connect(path: &Path) -> Result<AdminServiceClient<Channel>, Unreachable> {
    let socket = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    // The address is never looked up: the connector knows where to go.
    let channel = Endpoint::from_static("http://admin").connect_with_connector(connector).await;
    match channel {
        // Up to 10,000 tasks with their texts.
        Ok(channel) => Ok(AdminServiceClient::new(channel).max_decoding_message_size(64 << 20)),
        Err(source) => Err(Unreachable { path: path.to_owned(), source }),
    }
}
