//! Limit 6: one closed set of reasons, each with a paragraph for operators; and the class of an error decides what is done about it.

use std::{collections::BTreeSet, path::Path};

use dlite::{
    doubles::manager::{Calls, Fault, Route},
    reason::{Reason, page},
};

use super::lab::{Lab, SOON};

#[test]
fn the_page_of_reasons_is_written_from_the_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    if std::env::var_os("DLITE_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, page()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reasons.md is not what the table says: DLITE_BLESS=1 cargo test --test limits reasons"
    );
}

#[test]
fn every_reason_has_a_word_of_its_own_and_a_paragraph() {
    let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words.len(), Reason::ALL.len(), "two reasons share a word");
    for reason in Reason::ALL {
        assert!(reason.text().len() > 20 && reason.text().trim_end().ends_with('.'), "{reason}: {}", reason.text());
    }
}

/// The set is closed because nobody writes a word as text: parts of the delegate that give reasons take them from the table.
#[test]
fn no_reason_is_written_anywhere_but_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for room in ["core", "runners", "admin"] {
        visit(&source.join(room), &mut |file, text| {
            // Tests compare with the word that a peer sees.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for literal in words(text) {
                found.push(format!("{}: {literal:?}", file.display()));
            }
        });
    }
    assert!(found.is_empty(), "take these from crate::reason:\n{}", found.join("\n"));
}

fn visit(directory: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            look(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Literals that look like a reason: capitals with an underline between. Names of variables of the environment are none.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2).filter(|literal| {
        literal.contains('_')
            && literal.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && !literal.starts_with("DLITE_")
            && !literal.starts_with("CARGO_")
    })
}

/// What an upstream answers to a result, and what has become of it once it is settled: how often its own body was sent, and whether
/// a minimal failure took its place.
const CLASSES: &[(u16, &str, u64, bool)] = &[
    // The body is refused: sent once, then the smallest failure that says so.
    (400, "no", 1, true),
    (413, "no", 1, true),
    (422, "no", 1, true),
    // Passing troubles, and credentials: sent again until it is taken.
    (408, "later", 2, false),
    (429, "later", 2, false),
    (500, "later", 2, false),
    (503, "later", 2, false),
    (401, "who are you", 2, false),
    (403, "not you", 2, false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_an_answer_decides_whether_a_result_is_sent_again() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    for (status, body, sent, minimal) in CLASSES {
        lab.manager.fault(Route::ResultA, Fault::Status(*status, (*body).to_owned()), Calls::Next(1));
        let before = lab.manager.read(|record| record.calls(Route::ResultA));
        let task = lab.submit("DEV_WORK", 1);
        let answer = lab.manager.wait_for(&task, SOON).await.unwrap_or_else(|_| panic!("{status}\n{}", lab.tail()));
        let after = lab.manager.read(|record| record.calls(Route::ResultA));
        let replaced = String::from_utf8_lossy(&answer.data).contains(Reason::ResultRefused.word());
        // The original's tries, and the minimal failure's one.
        let tries = sent + u64::from(*minimal);
        assert_eq!((after - before, replaced), (tries, *minimal), "{status}: {answer:?}\n{}", lab.tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_the_upstream_no_longer_knows_is_a_dead_letter_and_not_sent_again() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.manager.fault(Route::ResultA, Fault::Status(404, "gone".to_owned()), Calls::Next(1));
    lab.submit("DEV_WORK", 1);
    let status = lab.status_when("the dead letter is counted", |status| status.dead_letter_count == 1).await;
    assert_eq!((status.open_task_count, status.unreported_result_count), (0, 0));
    assert_eq!(lab.manager.read(|record| record.calls(Route::ResultA)), 1);
    let tasks = lab.tasks().await;
    assert!(tasks[0].waiting_for.contains(Reason::TaskGone.word()), "{tasks:?}");
}
