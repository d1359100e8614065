use reqwest::Method;

use crate::support::{ACCOUNT, Caller, SECRET, authorization, registration, token};

const EVENTS: &str = "/api/agent/delegates/d/task-events";

#[tokio::test]
async fn a_call_without_a_delegate_token_is_500() {
    let caller = Caller::new().await;
    for authorization in [None, Some("Bearer x")] {
        let path = format!("{EVENTS}?accountId={ACCOUNT}");
        let answered = caller.send(Method::GET, &path, authorization, "").await.unwrap();
        assert_eq!((answered.status, &*answered.code()), (500, "DEFAULT_ERROR_CODE"));
    }
}

#[tokio::test]
async fn bad_and_expired_tokens_are_401_by_name() {
    let caller = Caller::new().await;
    let foreign = token("ffffffffffffffffffffffffffffffff", 4_000_000_000);
    let expired = token(SECRET, 1_000_000);
    for (token, code) in [("junk", "INVALID_TOKEN"), (&*foreign, "INVALID_TOKEN"), (&*expired, "EXPIRED_TOKEN")] {
        let path = format!("{EVENTS}?accountId={ACCOUNT}");
        let answered = caller.send(Method::GET, &path, Some(&format!("Delegate {token}")), "").await.unwrap();
        assert_eq!((answered.status, &*answered.code()), (401, code));
    }
    assert_eq!(caller.manager.record().totals().unauthorized, 3);
}

#[tokio::test]
async fn another_account_or_none_is_400() {
    let caller = Caller::new().await;
    for query in ["", "?accountId=", "?accountId=other"] {
        let answered = caller.send(Method::GET, &format!("{EVENTS}{query}"), Some(&authorization()), "").await.unwrap();
        assert_eq!((answered.status, &*answered.code()), (400, "INVALID_REQUEST"), "{query}");
    }
}

#[tokio::test]
async fn good_tokens_can_be_refused_for_a_while() {
    let caller = Caller::new().await;
    caller.manager.refuse_tokens(Some("REVOKED_TOKEN"));
    let answered = caller.call(Method::GET, EVENTS, "").await.unwrap();
    assert_eq!((answered.status, &*answered.code()), (401, "REVOKED_TOKEN"));
    caller.manager.refuse_tokens(None);
    assert_eq!(caller.call(Method::GET, EVENTS, "").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_secret_is_noticed_wherever_it_is_sent_in_clear() {
    let caller = Caller::new().await;
    caller.register(&registration("quiet")).await;
    assert_eq!(caller.manager.record().secret_seen.total(), 0);
    let mut body = registration("loud");
    body["delegateRandomToken"] = SECRET.into();
    let answered = caller.register(&body).await;
    // And the manager sends it back.
    assert_eq!(answered.json()["resource"]["delegateRandomToken"], SECRET);
    let record = caller.manager.record();
    assert_eq!(record.secret_seen.total(), 1);
    assert!(!format!("{record:?}").contains(SECRET));
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_error_envelope() {
    let caller = Caller::new().await;
    for (method, path, status) in [(Method::GET, "/api/none", 404), (Method::GET, "/api/agent/delegates/register", 405)]
    {
        let answered = caller.call(method, path, "").await.unwrap();
        assert_eq!(answered.status, status);
        assert_eq!(answered.json()["responseMessages"], serde_json::json!([]));
    }
}
