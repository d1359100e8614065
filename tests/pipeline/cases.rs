//! The table of cases: each pipeline in `cases/` shows what its first line says, and does what the file beside it says.
//!
//! ```text
//! given secret db_password hunter2     what the build is: event, ref, deploy; secret
//! stage failure                        the stage's end
//! error step build ended with          words of its error
//! step build failure 3 ignored         each step's end and exit code, and whether its failure is ignored
//!   + make                             its log
//! ```

use std::{fs, path::PathBuf};

use dlite::doubles::drone::{NewBuild, NewRepo, Submitted};

use crate::lab::{Lab, STAGE};

/// Pipelines that show a feature.
const CASES_MIN: usize = 20;

struct Case {
    name: String,
    config: String,
    given: Vec<Given>,
    /// All further lines.
    expected: Vec<String>,
}

enum Given {
    Event(String),
    Ref(String),
    Deploy(String),
    Secret(String, String),
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pipeline_does_what_its_table_says() {
    let lab = Lab::with("slots = 4").await;
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut submitted = Vec::new();
    for case in &cases {
        submitted.push(case.submit(&lab));
    }
    let mut failed = Vec::new();
    for (case, submitted) in cases.iter().zip(&submitted) {
        let told = told(&lab, submitted).await;
        if !case.is_met(&told) {
            let (expected, told) = (case.expected.join("\n"), told.join("\n"));
            failed.push(format!("=== {}: expected\n{expected}\n--- told\n{told}", case.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    lab.nothing_is_left().await;
    lab.check();
}

#[test]
fn each_pipeline_names_the_feature_that_it_shows() {
    for case in cases() {
        let first = case.config.lines().next().unwrap_or_default();
        assert!(first.starts_with("# ") && first.ends_with('.'), "{}: {first}", case.name);
    }
}

/// All of them, by name.
fn cases() -> Vec<Case> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline/cases");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut pipelines: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "yml")).collect();
    pipelines.sort();
    pipelines.into_iter().map(Case::read).collect()
}

/// What became of it, in the words of the table.
async fn told(lab: &Lab, submitted: &Submitted) -> Vec<String> {
    let (status, steps) = lab.ended(submitted).await;
    let mut lines = vec![format!("stage {status}"), format!("error {}", lab.error(submitted))];
    let ignored: Vec<bool> =
        lab.server.read(|record| record.steps_of(submitted.stages[0]).map(|step| step.row.errignore).collect());
    for (step, ignored) in steps.iter().zip(ignored) {
        let ignored = if ignored { " ignored" } else { "" };
        lines.push(format!("step {} {} {}{ignored}", step.name, step.status, step.code));
        // A line of the log may itself have several.
        lines.extend(step.log.iter().flat_map(|line| line.split('\n')).map(|line| format!("  {line}")));
    }
    lines
}

// === impl Case ===

impl Case {
    fn read(file: PathBuf) -> Self {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let table = fs::read_to_string(file.with_extension("expect")).unwrap();
        let (given, expected): (Vec<&str>, Vec<&str>) = table.lines().partition(|line| line.starts_with("given "));
        let given = given.iter().map(|line| Given::read(line)).collect();
        let expected = expected.into_iter().map(str::to_owned).collect();
        Self { config: fs::read_to_string(&file).unwrap(), name, given, expected }
    }

    /// Line for line; a stage's error only where the table has one.
    fn is_met(&self, told: &[String]) -> bool {
        let words = |line: &str| line.strip_prefix("error ").map(str::to_owned);
        let has_error = self.expected.iter().any(|line| words(line).is_some());
        let told: Vec<&String> = told.iter().filter(|line| has_error || words(line).is_none()).collect();
        told.len() == self.expected.len()
            && told.iter().zip(&self.expected).all(|(told, expected)| match (words(told), words(expected)) {
                (Some(told), Some(expected)) => told.contains(&expected),
                _ => *told == expected,
            })
    }

    fn submit(&self, lab: &Lab) -> Submitted {
        lab.submit_with("", |repo: &mut NewRepo, mut build: NewBuild| {
            assert!(self.config.contains(&format!("name: {STAGE}")), "{}: no such stage", self.name);
            build.config.clone_from(&self.config);
            for given in &self.given {
                match given {
                    Given::Event(event) => build.event.clone_from(event),
                    Given::Ref(reference) => build.git_ref.clone_from(reference),
                    Given::Deploy(target) => build.deploy_to.clone_from(target),
                    Given::Secret(name, value) => drop(repo.secrets.insert(name.clone(), value.clone())),
                }
            }
            build
        })
    }
}

// === impl Given ===

impl Given {
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        match words[1..] {
            ["event", event] => Self::Event(event.to_owned()),
            ["ref", reference] => Self::Ref(reference.to_owned()),
            ["deploy", target] => Self::Deploy(target.to_owned()),
            ["secret", name, value] => Self::Secret(name.to_owned(), value.to_owned()),
            _ => panic!("{line}: not known"),
        }
    }
}
