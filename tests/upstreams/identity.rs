//! Under which name and id the delegate is known.

use dlite::{
    core::{input::Standing, record::Host},
    upstreams::harness::{Error, Harness, Options},
};

use crate::support::{ACCOUNT, Pair, SECRET, TYPE, adapter, register};

#[tokio::test]
async fn a_registration_says_who_can_do_what_from_where() {
    let pair = Pair::with(|options| options.tags = vec!["macos".into(), String::new(), "arm64".into()]).await;
    let record = pair.manager.record();
    let body = &record.registers.iter().next().unwrap().body;
    assert_eq!(body.account_id.as_deref(), Some(ACCOUNT));
    assert_eq!(body.delegate_name.as_deref(), Some("pool a"));
    assert_eq!(body.delegate_type.as_deref(), Some("DOCKER"));
    assert_eq!((body.ng, body.polling_mode_enabled, body.heartbeat_as_object), (Some(true), Some(true), Some(true)));
    assert_eq!((body.immutable, &body.delegate_id), (None, &None));
    assert_eq!(body.ip.as_deref(), Some("127.0.0.1"));
    let name = body.host_name.as_deref().unwrap();
    assert!(name.starts_with("dlite-") && name.ends_with("-pool-a") && !name.contains(' '), "{name}");
    assert_eq!((name, "127.0.0.1"), (&*pair.host.name, &*pair.host.ip));
    assert_eq!(body.supported_task_types.as_ref().unwrap(), &[TYPE, "OTHER"]);
    assert_eq!(body.tags.as_ref().unwrap(), &["macos", "arm64"]);
    assert!(body.last_heart_beat.unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn a_known_host_is_named_as_before_and_keeps_its_id() {
    let pair = Pair::new().await;
    let renamed = adapter(&pair.manager.endpoint(), |options| options.host_name = Some("another".into()));
    let again = register(&renamed, Some(pair.host.clone())).await.unwrap();
    assert_eq!((again.delegate_id, again.host), (pair.identity.delegate_id.clone(), pair.host.clone()));
    // Said by somebody who was called so once, whatever this host is called now.
    let odd = Host { name: "an odd name".into(), ip: "192.0.2.9".into() };
    assert_eq!(register(&renamed, Some(odd.clone())).await.unwrap().host, odd);
    let body = &pair.manager.record().registers.iter().last().unwrap().body.clone();
    assert_eq!((body.host_name.as_deref(), body.ip.as_deref()), (Some("an odd name"), Some("192.0.2.9")));
}

#[tokio::test]
async fn a_heartbeat_is_small_and_lists_what_runs() {
    let pair = Pair::with(|options| options.tags = vec!["macos".into()]).await;
    assert_eq!(pair.heartbeat(&["t-1", "t-2"]).await, Ok(Standing::Known));
    assert_eq!(pair.heartbeat(&[]).await, Ok(Standing::Known));
    let record = pair.manager.record();
    let bodies: Vec<_> = record.heartbeats.iter().map(|heartbeat| &heartbeat.body).collect();
    assert_eq!(bodies[0].delegate_id.as_deref(), Some(&*pair.identity.delegate_id));
    assert_eq!(bodies[0].host_name.as_deref(), Some(&*pair.host.name));
    assert_eq!(bodies[0].currently_executing_delegate_tasks.as_ref().unwrap(), &["t-1", "t-2"]);
    assert!(bodies[1].currently_executing_delegate_tasks.as_ref().unwrap().is_empty());
    assert!(bodies[0].supported_task_types.is_none() && bodies[0].tags.is_none());
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let refused = |change: fn(&mut Options)| {
        let mut options = Options::new("http://127.0.0.1:1", ACCOUNT, SECRET.parse().unwrap(), "pool");
        change(&mut options);
        Harness::new(options).unwrap_err()
    };
    assert!(matches!(refused(|options| options.account_id.clear()), Error::Empty { field: "account_id" }));
    assert!(matches!(refused(|options| options.delegate_name = " ".into()), Error::Empty { field: "delegate_name" }));
    assert!(matches!(refused(|options| options.request_timeout = Default::default()), Error::TimeoutTooShort));
    assert!(refused(|options| options.endpoint = "manager".into()).to_string().contains("base url"));
}
