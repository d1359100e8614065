//! The status page at `/ui/`: what the commands show, for a browser on this host.
//!
//! ```text
//!  browser ── request ──► guard (host, origin, headers) ──► one file a page ──► Readings ──► admin::Service ──► driver
//!     ▲                                                          │ orders need a key (sign_in)
//!     └───────────── HTML that is whole without a script ◄───────┘
//!     └───────────── server-sent events: "look again", lines of a log
//! ```
//!
//! Everything shown comes from the operator's service, so it is the same as on the command line. It is read without credentials where
//! only this host can ask; orders, and the lines of logs, need the token in `admin.token` of the state directory.
//!
//! It lives on the thread of `/healthz`, never on the loop's. It asks the driver for a list at most twice a second, however many
//! browsers look; what a slow browser does not read is not made. Names and texts of upstreams and runners are hostile until shown
//! otherwise: every page is made by `maud`, which escapes them, and the policy of `guard` runs no script but `assets`.

mod ansi;
mod assets;
mod bar;
mod guard;
mod keyring;
mod layout;
mod live;
mod log;
mod orders;
mod overview;
mod readings;
mod reports;
mod runners;
mod sessions;
mod sheet;
mod sign_in;
mod task;
mod tasks;
mod trouble;
mod upstreams;
mod visit;
mod words;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use tokio::sync::Semaphore;

use self::{keyring::Keyring, readings::Readings};
use crate::{admin, config::HttpPage, health::Vitals, runners::access::Token};

pub use self::{keyring::KEYS_MAX, live::STREAMS_MAX, sheet::ROWS_MAX};

/// Longest body of an order, in bytes.
const BODY_BYTES_MAX: usize = 8 << 10;

/// What the page is given at the start.
pub struct Doors {
    /// Opens what needs a key.
    pub token: Token,
    /// The listener's, as it is bound.
    pub address: SocketAddr,
    pub vitals: Vitals,
}

/// The page of one delegate; clones are the same.
#[derive(Clone)]
pub struct Page(Arc<Inner>);

struct Inner {
    readings: Readings,
    keyring: Keyring,
    address: SocketAddr,
    vitals: Vitals,
    /// One permit for each stream of events.
    streams: Arc<Semaphore>,
}

/// Why there is no page at this address; none: there is.
pub fn refusal(page: HttpPage, address: SocketAddr) -> Option<String> {
    match page {
        HttpPage::On => None,
        HttpPage::Auto if address.ip().is_loopback() => None,
        HttpPage::Auto => Some(format!(
            "the status page is off: http.listen {address} is not a loopback address, so others than this host could read it; \
             http.page = \"on\" serves it there, to those who have the token"
        )),
        HttpPage::Off => Some("the status page is off: http.page is \"off\"".to_owned()),
    }
}

/// Routes that say why there is no page.
pub fn refuse(refusal: String) -> Router {
    let refuse = move || async move { (StatusCode::NOT_FOUND, refusal + "\n") };
    let routes = Router::new().route("/ui", get(refuse.clone())).route("/ui/", get(refuse.clone()));
    routes.route("/ui/{*rest}", get(refuse))
}

// === impl Page ===

impl Page {
    pub fn new(doors: Doors) -> Self {
        let Doors { token, address, vitals } = doors;
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self(Arc::new(Inner { readings: Readings::default(), keyring: Keyring::new(token), address, vitals, streams }))
    }

    /// There is something to show from now on; until then it says that the delegate starts.
    pub fn open(&self, service: Arc<admin::Service>) {
        self.0.readings.open(service);
    }

    pub fn routes(&self) -> Router {
        let shown = Router::new()
            .route("/ui/", get(overview::show))
            .route("/ui/tasks", get(tasks::show))
            .route("/ui/tasks/{task}", get(task::show))
            .route("/ui/tasks/{task}/cancel", post(orders::cancel_task))
            .route("/ui/tasks/{task}/log", get(log::show))
            .route("/ui/tasks/{task}/log/stream", get(log::stream))
            .route("/ui/runners", get(runners::show))
            .route("/ui/runners/drain", post(orders::drain_runner))
            .route("/ui/runners/resume", post(orders::resume_runner))
            .route("/ui/sessions", get(sessions::show))
            .route("/ui/sessions/{session}", get(sessions::show_one))
            .route("/ui/sessions/{session}/close", post(orders::close_session))
            .route("/ui/upstreams", get(upstreams::show))
            .route("/ui/upstreams/pause", post(orders::pause_upstream))
            .route("/ui/upstreams/resume", post(orders::resume_upstream))
            .route("/ui/reports", get(reports::show))
            .route("/ui/reports/{task}", get(reports::show_one))
            .route("/ui/reports/{task}/replay", post(orders::replay_report))
            .route("/ui/reports/{task}/drop", post(orders::drop_report))
            .route("/ui/drain", post(orders::drain))
            .route("/ui/resume", post(orders::resume))
            .route("/ui/live", get(live::changes))
            .layer(middleware::from_fn_with_state(self.clone(), guard::needs_key_abroad));
        Router::new()
            .merge(shown)
            .route("/ui", get(|| async { Redirect::permanent("/ui/") }))
            .route("/ui/sign-in", get(sign_in::show).post(sign_in::enter))
            .route("/ui/sign-out", post(sign_in::leave))
            .route("/ui/assets/{name}", get(assets::file))
            .route("/ui/{*rest}", get(|| async { trouble::Trouble::no_such_page().into_response() }))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(middleware::from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }

    fn readings(&self) -> &Readings {
        &self.0.readings
    }

    fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }

    fn vitals(&self) -> &Vitals {
        &self.0.vitals
    }

    /// Whether others than this host can ask.
    fn is_abroad(&self) -> bool {
        !self.0.address.ip().is_loopback()
    }
}
