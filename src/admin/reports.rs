//! Questions and orders about results that are not reported. A payload is shown only to whoever asks for it, and that is on record.

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, count, refused, short_text, tasks::error_text, timestamp};
use crate::{
    core::{
        audit::FOLLOWED,
        command::Command,
        id::{ExternalId, TaskId},
        status::{NotFound, TaskName},
        unreported::{REPORTS_SHOWN_MAX, ReportDetail, ReportStatus},
    },
    inbox::Question,
    proto::admin::v1 as proto,
    reason::Reason,
};

impl Service {
    pub(super) async fn all_reports(&self) -> Result<Response<proto::ListReportsResponse>, Status> {
        let reports = self.ask(Question::Reports).await?;
        let truncated = reports.len() >= REPORTS_SHOWN_MAX;
        let reports = reports.into_iter().map(|report| self.report_view(report)).collect();
        Ok(Response::new(proto::ListReportsResponse { reports, truncated }))
    }

    pub(super) async fn one_report(
        &self,
        request: Request<proto::GetReportRequest>,
    ) -> Result<Response<proto::GetReportResponse>, Status> {
        let shown = deed(&request, "reports inspect", format!("{} --show-payload", request.get_ref().task_id));
        let proto::GetReportRequest { task_id, show_payload } = request.into_inner();
        let ReportDetail { status, finish } = self.find_report(&task_id).await?;
        if show_payload {
            self.order(Command::PutOnRecord { deed: shown, outcome: FOLLOWED.into() }).await?;
        }
        let payload = finish.payload.as_ref().filter(|_| show_payload);
        Ok(Response::new(proto::GetReportResponse {
            error: error_text(&finish),
            exit_code: finish.exit_code,
            outputs: finish.outputs.iter().map(|output| output.name.to_string()).collect(),
            content_type: finish.payload.as_ref().map(|payload| payload.content_type.to_string()).unwrap_or_default(),
            payload: payload.map(|payload| payload.content.clone()),
            report: Some(self.report_view(status)),
        }))
    }

    pub(super) async fn send_report_again(
        &self,
        request: Request<proto::ReplayReportRequest>,
    ) -> Result<Response<proto::ReplayReportResponse>, Status> {
        let name = request.get_ref().task_id.clone();
        let task = self.find_report_id(&name).await?;
        let deed = deed(&request, "reports replay", self.ids.task(task));
        self.order_by(deed, Command::ReplayReport { task }).await?;
        Ok(Response::new(proto::ReplayReportResponse {}))
    }

    pub(super) async fn forget_report(
        &self,
        request: Request<proto::DropReportRequest>,
    ) -> Result<Response<proto::DropReportResponse>, Status> {
        let name = request.get_ref().task_id.clone();
        if request.get_ref().reason.is_empty() {
            return Err(Status::invalid_argument("reason: needed; it goes on record"));
        }
        let reason = short_text("reason", request.get_ref().reason.clone(), "")?;
        let task = self.find_report_id(&name).await?;
        let deed = deed(&request, "reports drop", format!("{} --reason {reason:?}", self.ids.task(task)));
        self.order_by(deed, Command::DropReport { task, reason }).await?;
        Ok(Response::new(proto::DropReportResponse {}))
    }

    async fn find_report_id(&self, name: &str) -> Result<TaskId, Status> {
        match self.ids.parse_task(name) {
            // The core says what is wrong with it.
            Some(task) => Ok(task),
            None => Ok(self.find_report(name).await?.status.task),
        }
    }

    async fn find_report(&self, name: &str) -> Result<ReportDetail, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("task_id: needed"));
        }
        let asked = match self.ids.parse_task(name) {
            Some(task) => TaskName::Ours(task),
            None => TaskName::Theirs(ExternalId::from(name)),
        };
        match self.ask(|answer| Question::Report(asked, answer)).await? {
            Ok(detail) => Ok(detail),
            Err(NotFound::Unknown) => {
                let text =
                    format!("no unreported result of task {name}: `dlite reports list` shows those that are here");
                Err(refused(Reason::TaskUnknown, &text))
            }
            Err(NotFound::Ambiguous(tasks)) => {
                let ids: Vec<_> = tasks.into_iter().map(|task| self.ids.task(task)).collect();
                let text =
                    format!("task_id: several results have the upstream's id {name}: say one of {}", ids.join(", "));
                Err(Status::invalid_argument(text))
            }
        }
    }

    fn report_view(&self, report: ReportStatus) -> proto::ReportView {
        proto::ReportView {
            task_id: self.ids.task(report.task),
            upstream: report.upstream.to_string(),
            external_id: report.external_id.to_string(),
            task_type: report.task_type.to_string(),
            outcome: report.outcome.to_owned(),
            state: report.state.to_owned(),
            reason: report.reason.as_deref().unwrap_or_default().to_owned(),
            finish_time: Some(timestamp(report.finished)),
            try_count: report.tries,
            next_try_time: report.next.map(timestamp),
            replayable: report.replayable,
            payload_bytes: count(report.payload_bytes),
        }
    }
}
