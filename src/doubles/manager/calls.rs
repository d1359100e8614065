//! Which call a request is. Method and path in, a [`Call`] out; nothing else.

use axum::http::Method;

/// The manager's routes (wire reference, 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST /api/agent/delegates/register`
    Register,
    /// `POST /api/agent/delegates/heartbeat-with-polling`
    Heartbeat,
    /// `POST /api/agent/delegates/unregister`
    Unregister,
    /// `POST /api/agent/delegates/register-delegate-capacity/{delegate}`
    Capacity,
    /// `GET /api/agent/delegates/{delegate}/task-events`
    Events,
    /// `PUT /api/agent/v2/delegates/{delegate}/tasks/{task}/acquire`
    Acquire,
    /// `POST /api/agent/v2/tasks/{task}/delegates/{delegate}`: a result in dialect A
    ResultA,
    /// `POST /api/executions/{task}/response`: a result in dialect B
    ResultB,
    /// `GET /api/executions/{runner}/runner-events`
    RunnerEvents,
    /// `GET /api/executions/{task}/request`: the runner family's acquire
    Request,
    /// `POST /api/executions/{task}/task-response`: a result in dialect C
    ResultC,
    /// `POST /api/daemons/{runner}/reconcile`
    Reconcile,
    /// `POST /api/daemons/{runner}/tasks`
    DaemonTasks,
}

impl Route {
    /// Every route, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Register,
        Self::Heartbeat,
        Self::Unregister,
        Self::Capacity,
        Self::Events,
        Self::Acquire,
        Self::ResultA,
        Self::ResultB,
        Self::RunnerEvents,
        Self::Request,
        Self::ResultC,
        Self::Reconcile,
        Self::DaemonTasks,
    ];

    /// The method that the route wants.
    pub(super) fn method(self) -> Method {
        match self {
            Self::Events | Self::RunnerEvents | Self::Request => Method::GET,
            Self::Acquire => Method::PUT,
            _ => Method::POST,
        }
    }
}

/// A route with the ids of its path. Ids are taken as they stand: the clients do not escape them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Register,
    Heartbeat,
    Unregister,
    Capacity { delegate: &'a str },
    Events { delegate: &'a str },
    Acquire { delegate: &'a str, task: &'a str },
    ResultA { task: &'a str, delegate: &'a str },
    ResultB { task: &'a str },
    RunnerEvents { runner: &'a str },
    Request { task: &'a str },
    ResultC { task: &'a str },
    Reconcile,
    DaemonTasks,
}

impl<'a> Call<'a> {
    /// The call that `path` names; none if there is no such route.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let mut parts = [""; 9];
        let mut count = 0;
        for part in path.strip_prefix("/api/")?.split('/') {
            *parts.get_mut(count)? = part;
            count += 1;
        }
        Some(match parts[..count] {
            ["agent", "delegates", "register"] => Self::Register,
            ["agent", "delegates", "heartbeat-with-polling"] => Self::Heartbeat,
            ["agent", "delegates", "unregister"] => Self::Unregister,
            ["agent", "delegates", "register-delegate-capacity", delegate] => Self::Capacity { delegate },
            ["agent", "delegates", delegate, "task-events"] => Self::Events { delegate },
            ["agent", "v2", "delegates", delegate, "tasks", task, "acquire"] => Self::Acquire { delegate, task },
            ["agent", "v2", "tasks", task, "delegates", delegate] => Self::ResultA { task, delegate },
            ["executions", task, "response"] => Self::ResultB { task },
            ["executions", runner, "runner-events"] => Self::RunnerEvents { runner },
            ["executions", task, "request"] => Self::Request { task },
            ["executions", task, "task-response"] => Self::ResultC { task },
            ["daemons", _, "reconcile"] => Self::Reconcile,
            ["daemons", _, "tasks"] => Self::DaemonTasks,
            _ => return None,
        })
    }

    pub(super) fn route(self) -> Route {
        match self {
            Self::Register => Route::Register,
            Self::Heartbeat => Route::Heartbeat,
            Self::Unregister => Route::Unregister,
            Self::Capacity { .. } => Route::Capacity,
            Self::Events { .. } => Route::Events,
            Self::Acquire { .. } => Route::Acquire,
            Self::ResultA { .. } => Route::ResultA,
            Self::ResultB { .. } => Route::ResultB,
            Self::RunnerEvents { .. } => Route::RunnerEvents,
            Self::Request { .. } => Route::Request,
            Self::ResultC { .. } => Route::ResultC,
            Self::Reconcile => Route::Reconcile,
            Self::DaemonTasks => Route::DaemonTasks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_route_and_ids() {
        assert_eq!(
            Call::parse("/api/agent/v2/delegates/d1/tasks/t1/acquire"),
            Some(Call::Acquire { delegate: "d1", task: "t1" })
        );
        assert_eq!(Call::parse("/api/agent/v2/tasks/t1/delegates/d1").map(Call::route), Some(Route::ResultA));
        // A delegate that took an empty id for one polls like this.
        assert_eq!(Call::parse("/api/agent/delegates//task-events"), Some(Call::Events { delegate: "" }));
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/",
            "/api/",
            "//api/agent/delegates/register",
            "/api/agent/delegates/register/",
            "/api/a/b/c/d/e/f/g/h/i/j",
        ] {
            assert_eq!(Call::parse(path), None, "{path}");
        }
    }
}
