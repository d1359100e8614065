//! Commands typed at the binary, without holding up the doubles of this process.

use std::process::Output;

use serde_json::Value;

use crate::lab::{Lab, output};

/// What a command came to.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command on the lab's configuration to its end.
pub async fn say(lab: &Lab, words: &[&str]) -> Said {
    let config = lab.path("dlite.toml");
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let done: Output = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        output(&words, &config)
    })
    .await
    .unwrap();
    Said {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

/// The same, which is to work; its standard output.
pub async fn text(lab: &Lab, words: &[&str]) -> String {
    let said = say(lab, words).await;
    assert_eq!(said.code, Some(0), "{words:?}: {}{}\n{}", said.out, said.err, lab.tail());
    said.out
}

/// The same with `-o json`.
pub async fn json(lab: &Lab, words: &[&str]) -> Value {
    let out = text(lab, &[words, &["-o", "json"]].concat()).await;
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
}
