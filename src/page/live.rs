//! Streams of events: "look again", once a second at most. What is new the browser then asks for like any page.
//!
//! It watches the readings that the loop leaves behind anyway, so a page that is open costs the loop nothing until it looks again.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Page, trouble::Trouble};
use crate::health::http::Connection;

/// Streams at once, of all browsers together. They have no share in the connections that probes get.
pub const STREAMS_MAX: usize = 16;
/// How often the readings are looked at; they change no more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Times on the page grow although nothing happens.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Events that wait for a browser: one is sent, one is ready.
pub(super) type Events = mpsc::Sender<Result<Event, Infallible>>;

/// The place of one more stream.
pub(super) fn place(page: &Page) -> Result<OwnedSemaphorePermit, Trouble> {
    let full = |_| Trouble::too_many(format!("{STREAMS_MAX} streams are open already; close some pages."));
    page.0.streams.clone().try_acquire_owned().map_err(full)
}

/// The answer that `feed` fills, on a connection that may last.
pub(super) fn answer<F: Future<Output = ()> + Send + 'static>(
    connection: &Connection,
    place: OwnedSemaphorePermit,
    feed: impl FnOnce(Events) -> F,
) -> Response {
    connection.becomes_stream();
    let (sender, events) = mpsc::channel(1);
    let feed = feed(sender);
    tokio::spawn(async move {
        feed.await;
        drop(place);
    });
    Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response()
}

pub(super) async fn changes(
    State(page): State<Page>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, Trouble> {
    let place = place(&page)?;
    Ok(answer(&connection, place, |events| tell(page, events)))
}

async fn tell(page: Page, events: Events) {
    let mut last = page.vitals().gauges();
    let mut quiet = Duration::ZERO;
    // The first one says that it is live.
    let mut is_news = true;
    loop {
        if is_news || quiet >= QUIET_MAX {
            quiet = Duration::ZERO;
            if events.send(Ok(Event::default().event("change").data("look"))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => quiet += LOOK_INTERVAL,
            () = events.closed() => return,
        }
        let gauges = page.vitals().gauges();
        is_news = gauges != last;
        last = gauges;
    }
}
