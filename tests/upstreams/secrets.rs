//! The account secret leaves only inside a token, and a refused token is told by name.

use dlite::{
    core::{
        input::{AcquireError, CallError, Denial, ReportError},
        task::Outcome,
    },
    doubles::manager::{Calls, Fault, Route},
};

use crate::support::{ACCOUNT, Pair, SECRET, adapter, failed, register, start, succeeded, task, task_b};

/// One of every call.
async fn live(pair: &Pair) {
    let (a, spec) = pair.acquired(task()).await;
    pair.heartbeat(&[&a]).await.unwrap();
    pair.report(&a, &spec, succeeded("{}")).await.unwrap();
    let (b, spec) = pair.acquired(task_b()).await;
    pair.poll().await.unwrap();
    pair.report(&b, &spec, failed(Outcome::Failed, None)).await.unwrap();
}

#[tokio::test]
async fn the_account_secret_is_in_no_request() {
    let pair = Pair::new().await;
    live(&pair).await;
    let record = pair.manager.record();
    assert_eq!(record.secret_seen.total(), 0);
    assert!(record.registers.iter().all(|register| register.body.delegate_random_token.is_none()));
}

#[tokio::test]
async fn the_switch_restores_the_go_clients_field() {
    let pair = Pair::with(|options| options.send_secret_in_body = true).await;
    live(&pair).await;
    let record = pair.manager.record();
    let seen: Vec<_> = record.secret_seen.iter().copied().collect();
    assert_eq!(seen, [Route::Register, Route::Heartbeat]);
    assert_eq!(record.registers.iter().next().unwrap().body.delegate_random_token.as_ref().unwrap().0, SECRET);
}

#[tokio::test]
async fn a_wrong_secret_is_told_by_name_on_every_call() {
    let mut pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    pair.harness = adapter(&pair.manager.endpoint(), |options| {
        options.account_secret = "ffffffffffffffffffffffffffffffff".parse().unwrap();
    });
    let says = |text: &str| {
        assert!(text.contains("401: INVALID_TOKEN") && text.contains("account_secret"), "{text}");
        assert!(!text.contains("ffffffff"), "{text}");
    };
    let Err(CallError::Denied(Denial::Credentials, text)) = register(&pair.harness, None).await else {
        panic!("registered")
    };
    says(&text);
    let Err(CallError::Denied(Denial::Credentials, text)) = pair.heartbeat(&[]).await else { panic!("heard") };
    says(&text);
    let Err(CallError::Denied(Denial::Credentials, text)) = pair.poll().await else { panic!("listed") };
    says(&text);
    let Err(AcquireError::Unanswered(text)) = pair.acquire(&id).await else { panic!("acquired") };
    says(&text);
    let Err(ReportError::Unauthorized(text)) = pair.report(&id, &spec, succeeded("{}")).await else {
        panic!("reported")
    };
    says(&text);
}

#[tokio::test]
async fn an_expired_token_hints_at_the_clock_and_the_next_one_works() {
    let pair = Pair::new().await;
    pair.manager.refuse_tokens(Some("EXPIRED_TOKEN"));
    let Err(CallError::Denied(Denial::TokenExpired, text)) = pair.poll().await else { panic!("listed") };
    assert!(text.contains("401: EXPIRED_TOKEN") && text.contains("clock"), "{text}");
    pair.manager.refuse_tokens(None);
    assert!(pair.poll().await.is_ok());
}

#[tokio::test]
async fn an_account_that_the_manager_does_not_serve_is_told() {
    let manager = start().await;
    let harness = adapter(&manager.endpoint(), |options| options.account_id = "acct OTHER&x=1".into());
    let Err(CallError::Failed(text)) = register(&harness, None).await else { panic!("registered") };
    assert!(text.contains("400: INVALID_REQUEST: Invalid request: no such account"), "{text}");
    assert!(!text.contains(ACCOUNT));
}

#[tokio::test]
async fn an_answer_that_repeats_the_secret_is_not_quoted() {
    let pair = Pair::new().await;
    for body in [format!("bad key {SECRET}"), format!("bad key {}", SECRET.to_uppercase())] {
        pair.manager.fault(Route::Events, Fault::Status(500, body), Calls::Next(1));
        let Err(CallError::Failed(text)) = pair.poll().await else { panic!("listed") };
        assert!(text.contains("500: (the answer repeats the credentials"), "{text}");
        assert!(!text.to_lowercase().contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn the_adapter_does_not_print_the_secret() {
    let pair = Pair::new().await;
    let printed = format!("{:?}", pair.harness);
    assert!(printed.contains(ACCOUNT) && !printed.contains(SECRET), "{printed}");
}
