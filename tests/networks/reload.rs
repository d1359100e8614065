//! Files that change while calls are under way.

use std::time::Duration;

use dlite::{
    admin::client,
    core::{effect::Call, input::Answer},
    proto::admin::v1::GetDelegateRequest,
    upstreams::{
        Upstream as _,
        harness::{Harness, Options},
    },
};

use crate::{
    front::{Front, certs, server_config},
    lab::{ACCOUNT, Desk, Lab, OTHER_SECRET, SECRET, SOON, manager, task, upstream},
};

/// Tasks submitted in each phase.
const TASKS: usize = 40;
const SLOTS: u32 = 8;

struct Load {
    lab: Lab,
    manager: dlite::doubles::manager::Manager,
    ids: Vec<String>,
}

impl Load {
    /// Submits a further batch and waits until some of its tasks, and not all, are under way.
    async fn press(&mut self) {
        let effective = self.manager.read(|record| record.totals().effective);
        for _ in 0..TASKS {
            self.ids.push(self.manager.submit(task(None)).unwrap());
        }
        let under_way = effective + u64::try_from(TASKS / 4).unwrap();
        self.manager.wait_until(|record| record.totals().effective >= under_way, SOON).await.unwrap();
    }

    /// Waits until everything submitted so far is reported.
    async fn settle(&self) {
        for id in &self.ids {
            self.manager.wait_for(id, SOON).await.unwrap_or_else(|error| panic!("{id} is not reported: {error:?}"));
        }
    }

    /// Asserts that every result arrived, once, and that none was given up.
    async fn all_is_well(&self) {
        self.settle().await;
        let totals = self.manager.read(|record| record.totals());
        assert_eq!((totals.effective, totals.conflicts), (u64::try_from(self.ids.len()).unwrap(), 0));
        let mut admin = client::connect(&self.lab.desk.path("a.sock")).await.unwrap();
        let status = admin.get_delegate(GetDelegateRequest {}).await.unwrap().into_inner();
        assert_eq!(status.dead_letter_count, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_secret_change_under_load_and_no_result_is_lost() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", Some("a")))).await;
    let desk = Desk::new();
    desk.copy(&certs("authority-a.pem"), "ca.pem");
    desk.copy(&certs("client-a.pem"), "client.pem");
    desk.copy(&certs("client-a.key"), "client.key");
    let more = "tls.ca_files = [\"ca.pem\"]\ntls.client_cert = \"client.pem\"\ntls.client_key = \"client.key\"";
    desk.configure(&upstream("m", &front.endpoint(), more));
    let lab = desk.start(SLOTS, Duration::from_millis(20)).await;
    let mut load = Load { lab, manager: manager.clone(), ids: Vec::new() };

    load.press().await;
    front.set_secret(OTHER_SECRET);
    load.lab.desk.write("secret", OTHER_SECRET.as_bytes());
    load.settle().await;
    println!("secret swapped; calls that were refused meanwhile: {}", front.refused());

    load.press().await;
    // What is broken changes nothing.
    load.lab.desk.write("ca.pem", b"-----BEGIN CERTIFICATE-----\nno\n");
    load.lab.desk.write("secret", b"half a sec");
    load.settle().await;

    load.press().await;
    front.set_tls(server_config("b", Some("b")));
    load.lab.desk.write("secret", OTHER_SECRET.as_bytes());
    load.lab.desk.copy(&certs("authority-b.pem"), "ca.pem");
    // One after the other, as a tool would.
    load.lab.desk.copy(&certs("client-b.pem"), "client.pem");
    load.lab.desk.copy(&certs("client-b.key"), "client.key");
    load.settle().await;
    assert!(front.was_shown("client-a.pem") && front.was_shown("client-b.pem"));

    load.press().await;
    load.all_is_well().await;
    load.lab.stop().await;
}

#[tokio::test]
async fn a_refused_secret_with_a_newer_file_beside_it_is_tried_again_at_once() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, None).await;
    let desk = Desk::new();
    let mut options = Options::new(front.endpoint(), ACCOUNT, SECRET.parse().unwrap(), "pool");
    options.account_secret_file = Some(desk.path("secret"));
    // Nobody looks by the clock in this test.
    options.network.look_interval = Duration::from_secs(3600);
    let harness = Harness::new(options).unwrap();
    let poll = async || match harness.perform(Call::Poll { delegate_id: "d".into(), wanted: Vec::new() }).await {
        Answer::Poll(result) => result,
        other => panic!("{other:?}"),
    };
    poll().await.unwrap();
    front.set_secret(OTHER_SECRET);
    assert!(poll().await.is_err(), "the file still holds the old one");
    assert_eq!(front.refused(), 1, "nothing newer, so no second try");
    desk.write("secret", OTHER_SECRET.as_bytes());
    poll().await.unwrap();
    assert_eq!(front.refused(), 2);
    poll().await.unwrap();
    assert_eq!(front.refused(), 2, "the new one stays in force");
}

#[test]
fn a_secret_file_that_is_none_is_refused_by_name_at_the_start() {
    let desk = Desk::new();
    desk.write("secret", b"hunter2");
    let mut options = Options::new("http://127.0.0.1:9", ACCOUNT, SECRET.parse().unwrap(), "pool");
    options.account_secret_file = Some(desk.path("secret"));
    let error = Harness::new(options).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("secret") && !text.contains("hunter2"), "{text}");
}
