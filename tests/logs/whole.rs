//! From a runner's lines to the log service's blob, with everything on the way that can fail.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    lab::{ACCOUNT, Lab, Work, expected, lines, text, texts},
    random::Random,
};

/// In the ordinary tests; `DLITE_LOG_LINES=1000000 cargo test --release --test logs ten_kills` runs a million.
const LINES: u64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_and_indirect_uploads_store_the_same_and_it_is_what_the_runner_wrote() {
    let mut blobs = Vec::new();
    for upload in ["direct", "link"] {
        let lab = Lab::started(&format!("log_upload = \"{upload}\""), "").await;
        let task = lab.submit("pipeline:x/step:y", Work { lines: 2_000, ..Work::default() });
        lab.finished(&task).await;
        blobs.push(lab.blob("pipeline:x/step:y").await);
        let counts = lab.service.counts();
        let sent = (counts.uploads_direct, counts.uploads_by_link);
        assert_eq!(sent, if upload == "direct" { (1, 0) } else { (0, 1) });
        // The sink has all and the task is over.
        lab.eventually("the log is deleted", || lab.spooled().is_empty()).await;
    }
    assert_eq!(texts(&blobs[0]), expected(2_000));
    assert_eq!(blobs[0], blobs[1]);
    let first = &lines(&blobs[0])[7];
    assert_eq!(first["pos"], 7);
    assert_eq!(
        (first["level"].as_str(), first["time"].as_str()),
        (Some("info"), Some("2026-09-21T12:00:00.000000007Z"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_says_itself_how_to_upload_if_the_configuration_leaves_it_to_it() {
    let lab = Lab::started("", "").await;
    let task = lab.submit("k", Work { lines: 3, ..Work::default() });
    lab.finished(&task).await;
    lab.blob("k").await;
    // `indirect_upload` means direct.
    assert_eq!(lab.service.counts().uploads_direct, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_s_output_is_the_log_line_by_line() {
    let lab = Lab::started("", "").await;
    let shell = r"printf 'one\ntwo\r\n\nfour'; sleep 0.05; printf ' and more\nlast'; printf 'e\n' >&2";
    let task = lab.submit("k", Work { shell: Some(shell.to_owned()), ..Work::default() });
    lab.finished(&task).await;
    let mut texts = texts(&lab.blob("k").await);
    // Two pipes have no order between them.
    texts.sort();
    assert_eq!(texts, ["", "e", "four and more", "last", "one", "two\r"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_watch_see_lines_while_the_task_runs_and_the_stream_is_closed_behind_it() {
    let lab = Lab::started("", "").await;
    let go = lab.path("go");
    let task = lab.submit("k", Work { lines: 10, until: Some(go.clone()), ..Work::default() });
    let watched =
        |lab: &dlite::doubles::log_service::LogService| lab.stream(ACCOUNT, "k").is_some_and(|lines| lines.len() == 10);
    lab.service_until("the lines are in the stream", watched).await;
    // A service that starts again forgets its streams.
    lab.service.forget_streams();
    std::fs::write(&go, "").unwrap();
    lab.finished(&task).await;
    assert_eq!(texts(&lab.blob("k").await), expected(10));
    lab.service_until("the stream is closed", |service| service.counts().closes == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_over_is_asked_for_again_and_without_an_object_store_it_goes_directly() {
    let lab = Lab::started("log_upload = \"link\"", "").await;
    lab.service.refuse_links(2);
    let task = lab.submit("k", Work { lines: 10, ..Work::default() });
    lab.finished(&task).await;
    assert_eq!(texts(&lab.blob("k").await), expected(10));
    assert_eq!((lab.service.counts().links, lab.service.counts().uploads_by_link), (3, 1));
    lab.service.set_no_store(true);
    let task = lab.submit("other", Work { lines: 10, ..Work::default() });
    lab.finished(&task).await;
    assert_eq!(texts(&lab.blob("other").await), expected(10));
    assert_eq!(lab.service.counts().uploads_direct, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_of_the_delegate_and_a_sink_that_is_away_lose_no_line() {
    let count = match std::env::var("DLITE_LOG_LINES") {
        Ok(count) => count.parse().expect("DLITE_LOG_LINES is a number of lines"),
        Err(_) => LINES,
    };
    let mut lab = Lab::started("", "").await;
    let mut random = Random(7);
    lab.service.set_down(true);
    let task = lab.submit("k", Work { lines: count, ..Work::default() });
    let mut peak = 0;
    for kill in 1..=10 {
        let written = lab.written.clone();
        let enough = count * kill / 11;
        lab.eventually("the runner goes on", || written.load(Ordering::Relaxed) >= enough).await;
        if kill == 7 {
            lab.service.set_down(false);
        }
        tokio::time::sleep(Duration::from_millis(random.below(50) as u64)).await;
        peak = peak.max(lab.peak_kib());
        lab.kill_delegate();
        tokio::time::sleep(Duration::from_millis(random.below(100) as u64)).await;
        lab.start_delegate();
    }
    lab.finished(&task).await;
    let texts = texts(&lab.blob("k").await);
    peak = peak.max(lab.peak_kib());
    println!("ten kills: {count} lines, at most {} MiB resident", peak >> 10);
    assert_eq!(texts.len() as u64, count);
    for (number, found) in texts.iter().enumerate() {
        assert_eq!(*found, text(number as u64));
    }
    assert!(peak < 100 << 10, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_outlives_its_task_and_the_delegate_while_the_sink_is_down() {
    let mut lab = Lab::started("", "").await;
    lab.service.set_down(true);
    let started = Instant::now();
    let task = lab.submit("k", Work { lines: 1_000, ..Work::default() });
    lab.finished(&task).await;
    assert!(started.elapsed() < Duration::from_secs(10), "the result does not wait for the sink");
    lab.kill_delegate();
    lab.start_delegate();
    // It can be read meanwhile.
    let output = lab.command(&["tasks", "list", "--output", "json"]);
    let _ = output;
    lab.service.set_down(false);
    assert_eq!(texts(&lab.blob("k").await), expected(1_000));
    lab.eventually("the log is deleted", || lab.spooled().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_told_where_people_look() {
    let lab = Lab::started("", "[logs]\nlog_max_mib = 1").await;
    let go = lab.path("go");
    let count = 30_000;
    let task = lab.submit("k", Work { lines: count, until: Some(go.clone()), ..Work::default() });
    let written = lab.written.clone();
    lab.eventually("all is written", || written.load(Ordering::Relaxed) == count).await;
    lab.eventually("the operator sees it", || {
        let get = lab.command(&["tasks", "get", &task]).stdout;
        String::from_utf8_lossy(&get).contains("lines missing")
    })
    .await;
    std::fs::write(&go, "").unwrap();
    lab.finished(&task).await;
    let texts = texts(&lab.blob("k").await);
    let last = texts.last().unwrap();
    let kept = texts.len() as u64 - 1;
    assert!(kept > 5_000 && kept < count, "{kept}");
    assert!(last.starts_with(&format!("[{} lines missing", count - kept)), "{last}");
    assert!(last.contains("the log has reached its limit"), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reads_and_follows_a_log_while_the_sink_is_down() {
    let lab = Lab::started("", "").await;
    lab.service.set_down(true);
    let go = lab.path("go");
    let task = lab.submit("k", Work { lines: 5, until: Some(go.clone()), ..Work::default() });
    let written = lab.written.clone();
    lab.eventually("all is written", || written.load(Ordering::Relaxed) == 5).await;
    let read = |more: &[&str]| {
        let output = lab.command(&[&["tasks", "logs", &task], more].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let all: String = expected(5).iter().map(|line| format!("{line}\n")).collect();
    lab.eventually("the lines can be read", || read(&[]) == all).await;
    assert_eq!(read(&["--from", "4"]), format!("{}\n", text(4)));
    let get = lab.command(&["tasks", "get", &task]);
    let get = String::from_utf8(get.stdout).unwrap();
    let bytes = all.len() - 5;
    assert!(get.contains(&format!("task: 5 lines, {bytes} bytes, open")), "{get}");
    // The delegate's name for it is good for as long as the log is here, whatever became of the task.
    let name = get.split(' ').next().unwrap().to_owned();
    let following = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let output = lab.command(&["tasks", "logs", &name, "-f"]);
            String::from_utf8(output.stdout).unwrap()
        });
        std::fs::write(&go, "").unwrap();
        following.join().unwrap()
    });
    assert_eq!(following, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_tries_at_a_task_the_last_one_s_log_stays_at_the_sink() {
    let mut lab = Lab::started("", "").await;
    lab.service.set_down(true);
    let go = lab.path("go");
    let task = lab.submit("k", Work { lines: 50, until: Some(go.clone()), ..Work::default() });
    let written = lab.written.clone();
    lab.eventually("the first try has written", || written.load(Ordering::Relaxed) == 50).await;
    // The lease is lost with the runner, since a new one holds nothing.
    lab.stop_runner();
    lab.start_runner();
    lab.eventually("the second try has written", || written.load(Ordering::Relaxed) == 100).await;
    std::fs::write(&go, "").unwrap();
    lab.finished(&task).await;
    lab.service.set_down(false);
    assert_eq!(texts(&lab.blob("k").await), expected(50));
    lab.eventually("both logs are deleted", || lab.spooled().is_empty()).await;
    let counts = lab.service.counts();
    assert_eq!(counts.uploads_direct, 1, "the log of the first try is not sent any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_appear_nowhere() {
    use base64::Engine as _;
    let lab = Lab::started("family = \"runner\"", "").await;
    lab.service.set_down(true);
    let secrets = ["hunter2-of-the-lab".to_owned(), "first line of it\nsecond: \"quoted\"".to_owned()];
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{}", secrets[0]));
    let mut written = Vec::new();
    for cut in 0..=secrets[0].len() {
        let (head, tail) = secrets[0].split_at(cut);
        written.push(format!("before {head}\n{tail} after"));
    }
    written.push(secrets[1].clone());
    written.push(serde_json::to_string(&secrets[1]).unwrap());
    written.push(format!("Authorization: Basic {encoded}"));
    written.push("the end".to_owned());
    let go = lab.path("go");
    let work = Work { texts: written.clone(), until: Some(go.clone()), ..Work::default() };
    let task = lab.submit_masked("k", work, &secrets);
    lab.eventually("the end is on disk", || {
        lab.spooled()
            .iter()
            .any(|path| std::fs::read(path).is_ok_and(|bytes| bytes.windows(7).any(|part| part == b"the end")))
    })
    .await;
    let parts = ["hunter2", "of-the-lab", "first line", "second: ", &encoded[8..24]];
    let assert_hidden = |what: &str, bytes: &[u8]| {
        for part in parts {
            let shown = bytes.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!shown, "{part:?} shows in {what}");
        }
    };
    for file in lab.spooled() {
        assert_hidden(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
    std::fs::write(&go, "").unwrap();
    lab.finished(&task).await;
    lab.service.set_down(false);
    let blob = lab.blob("k").await;
    assert_hidden("the blob", &blob);
    assert_hidden("the sink", &lab.service.everything());
    assert_hidden("the delegate's own log", lab.delegate_log().as_bytes());
    assert_eq!(texts(&blob).len(), written.iter().map(|text| text.split('\n').count()).sum::<usize>());
    assert!(texts(&blob).iter().any(|line| line.contains("******")));
}
