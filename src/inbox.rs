//! The one way to the driver: facts from runners and upstreams, and the operator's questions.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    core::{
        audit::Audit,
        command::{Command, Refusal},
        drain::Departure,
        effect::Note,
        explain::Explained,
        id::{LeaseId, LinkId, UpstreamName},
        input::{Hello, Input},
        status::{Holding, NotFound, SessionStatus, Status, TaskDetail, TaskName, TaskStatus},
        time::Now,
        unreported::{ReportDetail, ReportStatus},
    },
    runners::link::Orders,
};

/// Events on their way to the driver; a sender waits when it is full, each its turn.
pub const INBOX_MAX: usize = 1_024;
/// What reaches the driver.
pub enum Event {
    Input(Input),
    /// A runner said hello; orders for it go to `orders`.
    Attach {
        link: LinkId,
        hello: Hello,
        peer: Arc<str>,
        orders: Orders,
    },
    /// For metrics, traces and the operator's log.
    Note(Note),
    Ask(Question),
    /// The operator's order, and where its answer goes.
    Order(Command, oneshot::Sender<Result<(), Refusal>>),
}

/// Why a task is where it is, and which upstreams may have tasks that can't be seen from here.
pub struct Explanation {
    /// When it was so.
    pub now: Now,
    pub found: Vec<Explained>,
    /// Upstreams that are not well: name, state, last error.
    pub cut_off: Vec<(UpstreamName, &'static str, Option<Arc<str>>)>,
}

/// A reading of the state, for the operator.
pub enum Question {
    /// What the process would leave if it ended now.
    Leavings(oneshot::Sender<Departure>),
    /// Whose lease in force this is.
    Holding(LeaseId, oneshot::Sender<Option<Holding>>),
    Status(oneshot::Sender<Status>),
    Tasks(oneshot::Sender<Vec<TaskStatus>>),
    Sessions(oneshot::Sender<Vec<SessionStatus>>),
    Task(TaskName, oneshot::Sender<Result<TaskDetail, NotFound>>),
    Explain(TaskName, oneshot::Sender<Explanation>),
    Reports(oneshot::Sender<Vec<ReportStatus>>),
    Report(TaskName, oneshot::Sender<Result<ReportDetail, NotFound>>),
    /// The newest so many deeds.
    Audits(usize, oneshot::Sender<Vec<Arc<Audit>>>),
}
