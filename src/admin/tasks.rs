//! Questions and orders about tasks.

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, explain, refused, short_text, span, timestamp};
use crate::{
    core::{
        audit::Deed,
        command::Command,
        id::{ExternalId, TaskId},
        status::{self, NotFound, TaskDetail, TaskName, TaskStatus},
        task::Finish,
        time::Wall,
    },
    inbox::Question,
    proto::admin::v1 as proto,
    reason::Reason,
};

impl Service {
    pub(super) async fn all_tasks(&self) -> Result<Response<proto::ListTasksResponse>, Status> {
        let tasks = self.ask(Question::Tasks).await?;
        let truncated = tasks.len() >= status::TASKS_SHOWN_MAX;
        let now = wall_now();
        let tasks = tasks.into_iter().map(|task| self.view(now, task)).collect();
        Ok(Response::new(proto::ListTasksResponse { tasks, truncated }))
    }

    pub(super) async fn one_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        let detail = self.find(&request.into_inner().task_id).await?;
        let finish = detail.finish.as_deref();
        Ok(Response::new(proto::GetTaskResponse {
            tenant: detail.tenant.to_string(),
            kind: detail.kind.word().to_owned(),
            session_id: detail.session.map(|session| self.ids.session(session)).unwrap_or_default(),
            moments: detail
                .moments
                .iter()
                .map(|(phase, at)| proto::TaskMoment { phase: (*phase).to_owned(), time: Some(timestamp(*at)) })
                .collect(),
            events: detail
                .events
                .iter()
                .map(|event| proto::TaskEvent {
                    time: Some(timestamp(event.at)),
                    what: event.what.to_owned(),
                    attempt: event.attempt,
                    lease_id: event.lease.map(|lease| self.ids.lease(lease)).unwrap_or_default(),
                    runner_id: event.runner.as_ref().map(ToString::to_string).unwrap_or_default(),
                    text: event.text.clone(),
                })
                .collect(),
            labels: detail.labels.clone(),
            outputs: detail.outputs.iter().map(ToString::to_string).collect(),
            stop: detail.cancel.as_ref().map(|cancel| proto::TaskStop {
                reason: cancel.reason.word().to_owned(),
                message: cancel.message.to_string(),
                time: Some(timestamp(cancel.at)),
            }),
            outcome: finish.map(|finish| finish.outcome.word().to_owned()).unwrap_or_default(),
            error: finish.map(error_text).unwrap_or_default(),
            report_try_count: detail.report_tries,
            report_error: detail.report_error.as_deref().unwrap_or_default().to_owned(),
            logs: detail.status.task.map(|task| self.logs_of(&self.ids.task(task), &detail.logs)).unwrap_or_default(),
            task: Some(self.view(wall_now(), detail.status)),
        }))
    }

    pub(super) async fn stop_task(
        &self,
        request: Request<proto::CancelTaskRequest>,
    ) -> Result<Response<proto::CancelTaskResponse>, Status> {
        let by = deed(&request, "tasks cancel", "");
        let proto::CancelTaskRequest { task_id, reason, grace_period, force } = request.into_inner();
        let message = short_text("reason", reason, "cancelled by the operator")?;
        let grace = span("grace_period", grace_period)?;
        let task = self.find_id(&task_id).await?;
        let arguments = format!("{} --reason {message:?}{}", self.ids.task(task), if force { " --force" } else { "" });
        let deed = Deed { arguments: arguments.into(), ..by };
        self.order_by(deed, Command::CancelTask { task, message, grace, force }).await?;
        Ok(Response::new(proto::CancelTaskResponse {}))
    }

    pub(super) async fn find_id(&self, name: &str) -> Result<TaskId, Status> {
        let unknown = || refused(Reason::TaskUnknown, &format!("{name} is not acquired"));
        self.find(name).await?.status.task.ok_or_else(unknown)
    }

    async fn find(&self, name: &str) -> Result<TaskDetail, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("task_id: needed"));
        }
        let asked = match self.ids.parse_task(name) {
            Some(task) => TaskName::Ours(task),
            None => TaskName::Theirs(ExternalId::from(name)),
        };
        match self.ask(|answer| Question::Task(asked, answer)).await? {
            Ok(detail) => Ok(detail),
            Err(NotFound::Unknown) => {
                let text = format!(
                    "no open task {name}: it may be reported already, or only on offer; `dlite tasks list` shows those that are open, \
                     `dlite tasks explain {name}` says what became of it"
                );
                Err(refused(Reason::TaskUnknown, &text))
            }
            Err(NotFound::Ambiguous(tasks)) => {
                let ids: Vec<_> = tasks.into_iter().map(|task| self.ids.task(task)).collect();
                let text =
                    format!("task_id: several open tasks have the upstream's id {name}: say one of {}", ids.join(", "));
                Err(Status::invalid_argument(text))
            }
        }
    }

    pub(super) fn view(&self, now: Wall, task: TaskStatus) -> proto::TaskView {
        proto::TaskView {
            task_id: task.task.map(|id| self.ids.task(id)).unwrap_or_default(),
            upstream: task.upstream.to_string(),
            external_id: task.external_id.to_string(),
            task_type: task.task_type.map(|task_type| task_type.to_string()).unwrap_or_default(),
            state: task.state.to_owned(),
            waiting_since: Some(timestamp(task.wait.since)),
            wait: Some(explain::wait(now, &task.wait)),
            waiting_for: task.waiting_for,
            runner_id: task.runner.map(|runner| runner.to_string()).unwrap_or_default(),
            attempt: task.attempt,
            deadline: task.deadline.map(timestamp),
            trace_id: task.trace_id.map(|trace| trace.to_string()).unwrap_or_default(),
            age: task.acquired.and_then(|at| now.since(at).try_into().ok()),
        }
    }
}

pub(super) fn error_text(finish: &Finish) -> String {
    match &finish.error {
        Some(error) if error.reason.is_empty() => error.message.to_string(),
        Some(error) => format!("{}: {}", error.reason, error.message),
        None => String::new(),
    }
}

fn wall_now() -> Wall {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
