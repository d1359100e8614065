//! What the pages show: answers of the operator's service, each kept for a moment, so that many browsers ask the driver no more often
//! than one does.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::trouble::Trouble;
use crate::{
    admin::Service,
    proto::admin::v1::{
        GetDelegateRequest, GetDelegateResponse, ListReportsRequest, ListReportsResponse, ListSessionsRequest,
        ListSessionsResponse, ListTasksRequest, ListTasksResponse, admin_service_server::AdminService,
    },
};

/// An answer is shown again for so long.
const READING_AGE_MAX: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Readings {
    /// Absent: the delegate starts.
    service: OnceLock<Arc<Service>>,
    delegate: Kept<GetDelegateResponse>,
    tasks: Kept<ListTasksResponse>,
    sessions: Kept<ListSessionsResponse>,
    reports: Kept<ListReportsResponse>,
}

/// One answer and when it came. Who finds it too old waits for whoever asks already.
type Kept<T> = Mutex<Option<(Instant, Arc<T>)>>;

// === impl Readings ===

impl Readings {
    pub fn open(&self, service: Arc<Service>) {
        // It is opened once.
        let _ = self.service.set(service);
    }

    /// The service itself, for what is asked about one thing and for orders.
    pub fn service(&self) -> Result<&Arc<Service>, Trouble> {
        self.service.get().ok_or_else(Trouble::starting)
    }

    pub async fn delegate(&self) -> Result<Arc<GetDelegateResponse>, Trouble> {
        let service = self.service()?;
        kept(&self.delegate, service.get_delegate(Request::new(GetDelegateRequest {}))).await
    }

    pub async fn tasks(&self) -> Result<Arc<ListTasksResponse>, Trouble> {
        let service = self.service()?;
        kept(&self.tasks, service.list_tasks(Request::new(ListTasksRequest {}))).await
    }

    pub async fn sessions(&self) -> Result<Arc<ListSessionsResponse>, Trouble> {
        let service = self.service()?;
        kept(&self.sessions, service.list_sessions(Request::new(ListSessionsRequest {}))).await
    }

    pub async fn reports(&self) -> Result<Arc<ListReportsResponse>, Trouble> {
        let service = self.service()?;
        kept(&self.reports, service.list_reports(Request::new(ListReportsRequest {}))).await
    }

    /// After an order: what is kept is from before it.
    pub async fn forget(&self) {
        *self.delegate.lock().await = None;
        *self.tasks.lock().await = None;
        *self.sessions.lock().await = None;
        *self.reports.lock().await = None;
    }
}

async fn kept<T>(
    kept: &Kept<T>,
    question: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Arc<T>, Trouble> {
    let mut kept = kept.lock().await;
    if let Some((at, answer)) = &*kept
        && at.elapsed() < READING_AGE_MAX
    {
        return Ok(answer.clone());
    }
    let answer = Arc::new(question.await?.into_inner());
    *kept = Some((Instant::now(), answer.clone()));
    Ok(answer)
}
