//! Limit 6: one closed set of reasons, each with a paragraph for operators.

use std::{collections::BTreeSet, path::Path};

use dlite::reason::{Reason, page};

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
