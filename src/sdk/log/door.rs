//! The connection that logs go over: one for a runner, apart from its link.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tonic::{Request, Status, transport::Channel};

use crate::{
    proto::runner::v1::log_service_client::LogServiceClient,
    sdk::target::{Target, Token},
};

/// Largest frame: a line may be as large as the delegate takes any.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// See the module.
pub(crate) struct Door {
    token: Option<Token>,
    state: Mutex<(Target, Option<Channel>)>,
}

// === impl Door ===

impl Door {
    pub fn new(target: Target, token: Option<Token>) -> Self {
        Self { token, state: Mutex::new((target, None)) }
    }

    /// The delegate is elsewhere from now on.
    pub fn follow(&self, target: &Target) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != *target {
            *state = (target.clone(), None);
        }
    }

    /// A client on the one connection, which connects by itself, again and again.
    pub fn client(&self) -> Result<LogServiceClient<Channel>, Status> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.is_none() {
            let endpoint = state.0.endpoint().map_err(|error| Status::unavailable(error.to_string()))?;
            state.1 = Some(endpoint.connect_lazy());
        }
        let channel = state.1.clone().ok_or_else(|| Status::unavailable("there is no connection"))?;
        Ok(LogServiceClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX))
    }

    /// With the token, if one is shown there.
    pub fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let authorization = token.read().map_err(|error| Status::unavailable(error.to_string()))?;
            request.metadata_mut().insert("authorization", authorization);
        }
        Ok(request)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Door({})", state.0)
    }
}
