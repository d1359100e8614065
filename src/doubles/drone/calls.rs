//! Which call a request is. Method and path in, a [`Call`] out; nothing else.

use axum::http::Method;

/// The server's routes (wire reference, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST /rpc/v2/ping`
    Ping,
    /// `POST /rpc/v2/stage`: a long poll
    Request,
    /// `POST /rpc/v2/stage/{stage}?machine=`
    Accept,
    /// `GET /rpc/v2/stage/{stage}`
    Details,
    /// `PUT /rpc/v2/stage/{stage}`
    UpdateStage,
    /// `PUT /rpc/v2/step/{step}`
    UpdateStep,
    /// `POST /rpc/v2/build/{build}/watch`: a long poll
    Watch,
    /// `POST /rpc/v2/step/{step}/logs/batch`
    Batch,
    /// `POST /rpc/v2/step/{step}/logs/upload`
    Upload,
    /// `POST /rpc/v2/step/{step}/card`
    Card,
}

impl Route {
    /// Every route, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Ping,
        Self::Request,
        Self::Accept,
        Self::Details,
        Self::UpdateStage,
        Self::UpdateStep,
        Self::Watch,
        Self::Batch,
        Self::Upload,
        Self::Card,
    ];
}

/// A route with the id of its path. An id that is no number is read as 0, as the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) route: Route,
    pub(super) id: i64,
}

/// Why a path and method are no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCall {
    NotFound,
    WrongMethod,
}

impl Call {
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, NoCall> {
        let mut parts = [""; 5];
        let mut count = 0;
        for part in path.strip_prefix("/rpc/v2/").ok_or(NoCall::NotFound)?.split('/') {
            *parts.get_mut(count).ok_or(NoCall::NotFound)? = part;
            count += 1;
        }
        let routes: &[(Method, Route)] = match parts[..count] {
            ["ping"] => &[(Method::POST, Route::Ping)],
            ["stage"] => &[(Method::POST, Route::Request)],
            ["stage", _] => {
                &[(Method::POST, Route::Accept), (Method::GET, Route::Details), (Method::PUT, Route::UpdateStage)]
            }
            ["step", _] => &[(Method::PUT, Route::UpdateStep)],
            ["build", _, "watch"] => &[(Method::POST, Route::Watch)],
            ["step", _, "logs", "batch"] => &[(Method::POST, Route::Batch)],
            ["step", _, "logs", "upload"] => &[(Method::POST, Route::Upload)],
            ["step", _, "card"] => &[(Method::POST, Route::Card)],
            _ => return Err(NoCall::NotFound),
        };
        let (_, route) = routes.iter().find(|(wanted, _)| wanted == method).ok_or(NoCall::WrongMethod)?;
        Ok(Self { route: *route, id: parts[1].parse().unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_name_a_route_and_an_id() {
        let call = |method, path| Call::parse(&method, path).map(|call| (call.route, call.id));
        assert_eq!(call(Method::POST, "/rpc/v2/stage"), Ok((Route::Request, 0)));
        assert_eq!(call(Method::POST, "/rpc/v2/stage/7"), Ok((Route::Accept, 7)));
        assert_eq!(call(Method::PUT, "/rpc/v2/stage/7"), Ok((Route::UpdateStage, 7)));
        assert_eq!(call(Method::POST, "/rpc/v2/step/x/logs/batch"), Ok((Route::Batch, 0)));
        assert_eq!(call(Method::GET, "/rpc/v2/ping"), Err(NoCall::WrongMethod));
        assert_eq!(call(Method::POST, "/rpc/v2/nodes/m1"), Err(NoCall::NotFound));
        assert_eq!(call(Method::POST, "/rpc/v2/stage/7/a/b/c/d"), Err(NoCall::NotFound));
    }
}
