//! Why a page can't be shown or an order was not followed.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::html;
use tonic::{Code, Status};

use super::{keyring::NoRandom, layout};

/// What the browser is told instead.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It needs a key: here is one to be had.
    SignIn(String),
    Said(StatusCode, String),
}

// === impl Trouble ===

impl Trouble {
    pub fn starting() -> Self {
        Self::Said(StatusCode::SERVICE_UNAVAILABLE, "The delegate starts: its journal is being read.".to_owned())
    }

    pub fn no_such_page() -> Self {
        Self::Said(StatusCode::NOT_FOUND, "There is no such page.".to_owned())
    }

    pub fn gone(text: String) -> Self {
        Self::Said(StatusCode::NOT_FOUND, text)
    }

    pub fn too_many(text: String) -> Self {
        Self::Said(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub fn unreadable(text: String) -> Self {
        Self::Said(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub fn bad_field(text: String) -> Self {
        Self::Said(StatusCode::BAD_REQUEST, text)
    }

    pub fn foreign_form() -> Self {
        let text = "This form is not of this page as it is now. Go back, load the page again and repeat it.";
        Self::Said(StatusCode::FORBIDDEN, text.to_owned())
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::FailedPrecondition => StatusCode::CONFLICT,
            Code::Unavailable | Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::Said(code, status.message().to_owned())
    }
}

impl From<NoRandom> for Trouble {
    fn from(_: NoRandom) -> Self {
        Self::Said(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random bytes.".to_owned())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(path) => Redirect::to(&path).into_response(),
            Self::Said(status, text) => {
                let title = status.canonical_reason().unwrap_or("Trouble");
                let body = html! {
                    h1 { (title) }
                    p.lead { (text) }
                    p { a href="/ui/" { "Overview" } }
                };
                (status, layout::bare(title, &body)).into_response()
            }
        }
    }
}
