//! What happens, as it happens, for one operator: a bounded stream that says how much it missed.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use tokio::sync::{broadcast, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::Service;
use crate::{
    proto::admin::v1 as proto,
    telemetry::events::{Category, Event},
};

/// Answers that wait for who reads them; more waits in the watcher's own bound.
const ANSWERS_MAX: usize = 16;

pub(super) type Watched = Pin<Box<dyn Stream<Item = Result<proto::WatchEventsResponse, Status>> + Send>>;

impl Service {
    pub(super) fn watch(&self, request: Request<proto::WatchEventsRequest>) -> Result<Response<Watched>, Status> {
        let categories = request.into_inner().categories;
        let known: Vec<_> = Category::ALL.iter().map(|category| category.word()).collect();
        if let Some(other) = categories.iter().find(|category| !known.contains(&category.as_str())) {
            return Err(Status::invalid_argument(format!("categories: {other:?} is none of {}", known.join(", "))));
        }
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        tokio::spawn(tell(self.events.watch(), categories.into_iter().collect(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}

/// Until the delegate or the reader is gone.
async fn tell(
    mut events: broadcast::Receiver<Arc<Event>>,
    categories: BTreeSet<String>,
    answers: mpsc::Sender<Result<proto::WatchEventsResponse, Status>>,
) {
    loop {
        let heard = tokio::select! {
            heard = events.recv() => heard,
            () = answers.closed() => return,
        };
        let answer = match heard {
            Ok(event) if categories.is_empty() || categories.contains(event.category.word()) => {
                proto::WatchEventsResponse { event: Some(view(&event)), missed: 0 }
            }
            Ok(_) => continue,
            Err(broadcast::error::RecvError::Lagged(missed)) => proto::WatchEventsResponse { event: None, missed },
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if answers.send(Ok(answer)).await.is_err() {
            return;
        }
    }
}

fn view(event: &Event) -> proto::EventView {
    proto::EventView {
        time: Some(event.at.into()),
        category: event.category.word().to_owned(),
        kind: event.kind.to_owned(),
        task_id: event.task.clone(),
        session_id: event.session.clone(),
        upstream: event.upstream.clone(),
        external_id: event.external_id.clone(),
        runner_id: event.runner.clone(),
        text: event.text.clone(),
    }
}
