//! Why a task is where it is, in a sentence.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{Service, refused, timestamp};
use crate::{
    core::{
        explain::Explained,
        id::ExternalId,
        past::Past,
        status::{TaskName, TaskStatus},
        time::Wall,
        wait::Wait,
    },
    inbox::{Explanation, Question},
    proto::admin::v1 as proto,
    reason::Reason,
};

impl Service {
    pub(super) async fn explain(
        &self,
        request: Request<proto::ExplainTaskRequest>,
    ) -> Result<Response<proto::ExplainTaskResponse>, Status> {
        let name = request.into_inner().task_id;
        if name.is_empty() {
            return Err(Status::invalid_argument("task_id: needed"));
        }
        let asked =
            self.ids.parse_task(&name).map_or_else(|| TaskName::Theirs(ExternalId::from(&*name)), TaskName::Ours);
        let answer = self.ask(|answer| Question::Explain(asked, answer)).await?;
        if answer.found.is_empty() {
            return Err(refused(Reason::TaskUnknown, &unknown(&name, &answer)));
        }
        let now = answer.now.wall;
        let explanations = answer.found.into_iter().map(|found| match found {
            Explained::Open(task) => {
                proto::Explanation { sentence: self.sentence(now, &task), task: Some(self.view(now, *task)) }
            }
            Explained::Past(past) => proto::Explanation { sentence: self.obituary(now, &past), task: None },
        });
        Ok(Response::new(proto::ExplainTaskResponse { explanations: explanations.collect() }))
    }

    fn sentence(&self, now: Wall, task: &TaskStatus) -> String {
        let name = self.named(task.task, &task.external_id, task.upstream.as_str());
        let since = span(now.since(task.wait.since));
        let (text, ends) = (&task.waiting_for, task.wait.ends(now));
        let is = match task.state {
            // The wait of an offer says why it is left alone.
            "listed" => {
                return format!(
                    "{name} is on offer and not taken, for {since} now: {text}. It stays there until {ends}."
                );
            }
            "acquiring" => "is being acquired",
            "waiting" => "is acquired",
            "assigned" => "is assigned",
            "running" => "runs",
            "reporting" => "is finished",
            "dead" => return format!("{name} is finished, and its result is a dead letter since {since}: {text}."),
            _ => "is over",
        };
        format!("{name} {is} and waits for {text}, for {since} now. The wait ends when {ends}.")
    }

    fn obituary(&self, now: Wall, past: &Past) -> String {
        let name = self.named(past.task, &past.external_id, past.upstream.as_str());
        format!("{name} is not here any more: {} ago it {}.", span(now.since(past.at)), past.text())
    }

    fn named(&self, task: Option<crate::core::id::TaskId>, external_id: &ExternalId, upstream: &str) -> String {
        match task {
            Some(task) => format!("task {} ({external_id} of upstream {upstream})", self.ids.task(task)),
            None => format!("task {external_id} of upstream {upstream}"),
        }
    }
}

/// Nothing is known of it; which upstreams may have it all the same.
fn unknown(name: &str, answer: &Explanation) -> String {
    let mut text = format!("no upstream has listed a task {name}, and none of that name is here or was of late");
    for (upstream, state, error) in &answer.cut_off {
        let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        text += &format!("; upstream {upstream} is {state}{error}");
    }
    text
}

pub(super) fn wait(now: Wall, wait: &Wait) -> proto::Wait {
    proto::Wait {
        name: wait.name().word().to_owned(),
        since_time: Some(timestamp(wait.since)),
        deadline: wait.deadline.map(timestamp),
        text: wait.text(now),
        ends: wait.ends(now),
        details: wait.details().into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

/// A span in the one unit that matters.
fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => "less than a second".to_owned(),
        seconds @ 1..=180 => format!("{seconds} s"),
        seconds @ 181..=10_800 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
