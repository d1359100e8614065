use std::time::{Duration, Instant};

use dlite::doubles::manager::{Calls, Fault, Gate, Route};
use reqwest::Method;

use crate::support::{Caller, SOON, body_a};

const EVENTS: &str = "/api/agent/delegates/d/task-events";

#[tokio::test]
async fn a_fault_is_for_its_route_and_its_number_of_calls() {
    let caller = Caller::new().await;
    caller.manager.fault(Route::Events, Fault::Status(503, "busy".into()), Calls::Next(2));
    caller.manager.fault(Route::Events, Fault::Html, Calls::All);
    caller.delegate("a").await;
    for _ in 0..2 {
        let answered = caller.call(Method::GET, EVENTS, "").await.unwrap();
        assert_eq!((answered.status, &*answered.text), (503, "busy"));
    }
    for _ in 0..2 {
        let answered = caller.call(Method::GET, EVENTS, "").await.unwrap();
        assert_eq!(answered.status, 200);
        assert!(answered.text.starts_with("<!doctype html>"));
    }
    caller.manager.clear_faults();
    assert_eq!(caller.call(Method::GET, EVENTS, "").await.unwrap().text, r#"{"delegateTaskEvents":[]}"#);
    let record = caller.manager.record();
    assert_eq!(record.calls(Route::Events), 5);
    assert_eq!(record.arrivals.iter().filter(|arrival| arrival.route == Route::Events).count(), 5);
    // Faulted polls are no polls.
    assert_eq!(record.polls.total(), 1);
}

#[tokio::test]
async fn an_answer_can_break_off() {
    let caller = Caller::new().await;
    caller.manager.fault(Route::Events, Fault::Malformed, Calls::Next(1));
    let answered = caller.call(Method::GET, EVENTS, "").await.unwrap();
    assert_eq!(answered.status, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&answered.text).is_err());
}

#[tokio::test]
async fn a_cut_before_the_answer_leaves_the_call_done_and_one_before_it_undone() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    let path = format!("/api/agent/v2/tasks/{task}/delegates/{delegate}");

    caller.manager.fault(Route::ResultA, Fault::CutBefore, Calls::Next(1));
    assert!(caller.call(Method::POST, &path, body_a("OK", "{}")).await.is_err());
    assert!(caller.manager.effective(&task).is_none());

    caller.manager.fault(Route::ResultA, Fault::CutBeforeAnswer, Calls::Next(1));
    assert!(caller.call(Method::POST, &path, body_a("OK", "{}")).await.is_err());
    assert!(caller.manager.effective(&task).is_some());

    assert_eq!(caller.result_a(&delegate, &task, body_a("OK", "{}")).await.status, 204);
    assert_eq!(caller.manager.record().calls(Route::ResultA), 3);
}

#[tokio::test]
async fn an_answer_can_be_held_until_it_is_let_go() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    let gate = Gate::new();
    caller.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
    let acquire = caller.acquire(&delegate, &task, "i");
    let meanwhile = async {
        assert!(gate.arrived(1, SOON).await);
        // Assigned already, though nobody knows.
        assert_eq!(caller.manager.task(&task).unwrap().state.name(), "assigned");
        gate.open();
    };
    let (answered, ()) = tokio::join!(acquire, meanwhile);
    assert_eq!(answered.status, 200);
}

#[tokio::test]
async fn an_answer_can_be_late() {
    let caller = Caller::new().await;
    let delay = Duration::from_millis(30);
    caller.manager.fault(Route::Events, Fault::Delay(delay), Calls::Next(1));
    let start = Instant::now();
    caller.call(Method::GET, EVENTS, "").await.unwrap();
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn a_manager_that_is_down_answers_nobody_and_comes_back_with_its_state() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.manager.down();
    for _ in 0..3 {
        assert!(caller.call(Method::GET, EVENTS, "").await.is_err());
    }
    let record = caller.manager.record();
    assert_eq!(record.calls(Route::Events), 0);
    assert!(record.totals().hung_up >= 3);
    caller.manager.up();
    assert_eq!(caller.listed(&delegate).await, [task]);
}

#[tokio::test]
async fn an_answer_that_is_held_when_the_manager_goes_down_is_lost() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    let gate = Gate::new();
    caller.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
    let path = format!("/api/agent/v2/delegates/{delegate}/tasks/{task}/acquire?delegateInstanceId=i");
    let acquire = caller.call(Method::PUT, &path, "");
    let meanwhile = async {
        assert!(gate.arrived(1, SOON).await);
        caller.manager.down();
        gate.open();
    };
    let (answered, ()) = tokio::join!(acquire, meanwhile);
    assert!(answered.is_err());
    caller.manager.up();
    assert_eq!(caller.acquire(&delegate, &task, "i").await.status, 200);
}

#[tokio::test]
async fn waiting_ends_with_an_error_when_nothing_comes() {
    let caller = Caller::new().await;
    let task = caller.submit();
    let error = caller.manager.wait_for(&task, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.to_string(), "not seen at the double within 10ms");
}

#[tokio::test]
async fn a_dropped_manager_hangs_up() {
    let caller = Caller::new().await;
    let endpoint = caller.manager.endpoint();
    drop(caller);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(client.get(endpoint).send().await.is_err());
}
