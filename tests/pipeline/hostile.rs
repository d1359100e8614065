//! Text made to hurt: refused within a second, in memory that has a bound, and in words that can be printed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::memory::most_held;
use dlite::pipeline::{
    condition::Build,
    expand::expand,
    lint::{self, Options},
    plan::plan,
    yaml,
};

/// What a refusal may take of a processor.
const TIME_MAX: Duration = Duration::from_secs(1);
/// What is held at once while a text is looked at, beyond the text itself.
const MEMORY_MAX: usize = 96 << 20;

const HEAD: &str = "kind: pipeline\ntype: exec\nname: unit\n";

/// What lint says of the text, which is a refusal; in time and memory.
fn refused(text: &str) -> String {
    measured(|| match lint::lint(text, &Options::default()) {
        Ok(_) => panic!("it is not refused"),
        Err(refusal) => refusal.to_string(),
    })
}

/// What `work` makes of a hostile text, in time and memory, without anything that a terminal would obey.
fn measured(work: impl FnOnce() -> String) -> String {
    let start = cpu_time();
    let (told, memory) = most_held(work);
    let took = cpu_time() - start;
    assert!(took < TIME_MAX, "took {took:?}: {told}");
    assert!(memory < MEMORY_MAX, "held {memory} bytes: {told}");
    assert!(told.len() < 16 << 10, "a message of {} bytes", told.len());
    assert!(told.chars().all(|char| char == '\n' || !char.is_control()), "{told:?}");
    told
}

/// This thread's time on a processor, so that a busy machine does not count.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A thousand million laughs: each list holds the one before ten times.
fn laughs(levels: usize) -> String {
    let mut text = format!("{HEAD}x-0: &x0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n");
    for level in 1..levels {
        let items = vec![format!("*x{}", level - 1); 10].join(", ");
        writeln!(text, "x-{level}: &x{level} [{items}]").unwrap();
    }
    text
}

#[test]
fn aliases_that_multiply_are_refused() {
    let told = refused(&laughs(9));
    assert!(told.contains("line 8, document 1") && told.contains("nodes with its aliases written out"), "{told}");
}

#[test]
fn aliases_that_merge_what_they_multiply_are_refused() {
    let mut text = format!("{HEAD}x-0: &x0 {{a: 1, b: 2, c: 3}}\n");
    for level in 1..12 {
        let merged = vec![format!("*x{}", level - 1); 10].join(", ");
        writeln!(text, "x-{level}: &x{level} {{<<: [{merged}]}}").unwrap();
    }
    text.push_str("environment: *x11\n");
    assert!(refused(&text).contains("nodes with its aliases written out"));
}

#[test]
fn a_long_text_that_aliases_repeat_is_refused() {
    let mut text = format!("{HEAD}x: &x {}\nsteps:\n", "long".repeat(100_000));
    for n in 0..1_000 {
        writeln!(text, "- {{name: s{n}, commands: [*x]}}").unwrap();
    }
    assert!(refused(&text).contains("bytes with its aliases written out"));
}

#[test]
fn a_node_that_holds_itself_is_refused() {
    assert!(refused(&format!("{HEAD}x: &x {{y: [*x]}}")).contains("the alias names no anchor above it"));
}

#[test]
fn ten_megabytes_are_refused() {
    let mut text = format!("{HEAD}steps:\n");
    while text.len() < 10 << 20 {
        text.push_str("- name: a\n  commands: [make]\n");
    }
    assert_eq!(refused(&text), "the configuration has more than 1048576 bytes");
    let told = measured(|| yaml::parse(&text).unwrap_err().to_string());
    assert!(told.contains("more than 1048576 bytes"), "{told}");
}

#[test]
fn a_megabyte_of_the_smallest_nodes_is_refused() {
    let told = refused(&format!("{HEAD}x: [{}]", "a,".repeat(500_000)));
    assert!(told.contains("more than 100000 nodes"), "{told}");
    let told = refused(&format!("{HEAD}x: {{{}}}", "? ,".repeat(340_000)));
    assert!(told.contains("more than 100000 nodes"), "{told}");
    let told = refused(&format!("{HEAD}x:\n{}", " - -\n".repeat(200_000)));
    assert!(told.contains("more than 100000 nodes"), "{told}");
}

#[test]
fn collections_without_end_are_refused() {
    for open in ["[", "{a: ", "- ", "? ", "[{a: "] {
        let told = refused(&format!("{HEAD}x:\n {}", open.repeat(100_000)));
        assert!(told.contains("line 5") || told.contains("line 4"), "{open}: {told}");
    }
}

#[test]
fn documents_without_end_are_refused() {
    assert!(refused(&"---\na: 1\n".repeat(100_000)).contains("at most 256 documents"));
}

#[test]
fn anchors_and_tags_without_end_are_no_trouble() {
    let mut text = HEAD.to_owned();
    for n in 0..20_000 {
        writeln!(text, "x{n}: &a{n} !!str x").unwrap();
    }
    measured(|| yaml::parse(&text).map(|manifest| manifest.pipelines.len().to_string()).unwrap());
}

#[test]
fn ten_thousand_steps_are_refused() {
    let mut text = format!("{HEAD}steps:\n");
    for n in 0..10_000 {
        writeln!(text, "- name: step-{n}\n  commands: [make]").unwrap();
    }
    let told = refused(&text);
    assert!(
        told.contains(r#"line 4, document 1 (pipeline "unit"): steps: the stage has 10001 steps, at most 1024"#),
        "{told}"
    );
}

#[test]
fn as_many_steps_as_are_allowed_are_planned_in_time_however_they_depend_on_each_other() {
    let mut text = format!("{HEAD}steps:\n");
    for n in 0..1_023 {
        let before: Vec<String> = (n.max(90) - 90..n).map(|before| format!("s{before}")).collect();
        // Every other one is left out, so that those after it inherit what it waits for.
        let branch = if n % 2 == 0 { "main" } else { "next" };
        writeln!(text, "- {{name: s{n}, depends_on: [{}], when: {{branch: {branch}}}}}", before.join(",")).unwrap();
    }
    measured(|| {
        let manifest = yaml::parse(&text).unwrap();
        let build = Build { branch: "main".to_owned(), ..Build::default() };
        let plan = plan(&manifest.pipelines[0], &build);
        assert_eq!((plan.steps.len(), plan.left_out.len()), (513, 511));
        String::new()
    });
}

#[test]
fn steps_that_wait_for_each_other_are_refused_with_their_names() {
    let text = format!(
        "{HEAD}steps:\n- {{name: a}}\n- {{name: b, depends_on: [d]}}\n- {{name: c, depends_on: [b]}}\n- {{name: d, depends_on: [a, c]}}\n"
    );
    let told = refused(&text);
    let expected = r#"step "b": depends_on: "b" waits for "d" waits for "c", which waits for "b""#;
    assert!(told.contains(expected) && told.starts_with("line 6, document 1"), "{told}");
}

#[test]
fn a_cycle_of_a_thousand_steps_is_refused_in_short() {
    let mut text = format!("{HEAD}steps:\n");
    for n in 0..1_000 {
        writeln!(text, "- {{name: s{n}, depends_on: [s{}]}}", (n + 1) % 1_000).unwrap();
    }
    let told = refused(&text);
    assert!(told.contains("waits for 992 more"), "{told}");
}

#[test]
fn names_with_control_characters_are_refused_and_shown_escaped() {
    let cases = [
        (r#""build\e[2Jgone""#, r#"step "build\u{1b}[2Jgone": name: character 6 is the control character U+001B"#),
        (r#""a\nb""#, "character 2 is the control character U+000A"),
        (r#""a\0b""#, "character 2 is the control character U+0000"),
        (r#""\x9b31m""#, "character 1 is the control character U+009B"),
    ];
    for (name, expected) in cases {
        let told = refused(&format!("{HEAD}steps:\n- name: {name}\n"));
        assert!(told.contains(expected), "{told}");
        let told = refused(&format!("kind: pipeline\ntype: exec\nname: {name}\n"));
        assert!(told.contains("is the control character"), "{told}");
    }
}

#[test]
fn keys_and_values_with_control_characters_are_shown_escaped() {
    refused(&format!("{HEAD}steps:\n- {{name: a, \"comm\\eands\": 1, failure: \"\\e[31m\", depends_on: [\"\\e\"]}}\n"));
    refused(&format!("{HEAD}clone: {{\"\\edepth\": 1}}\nenvironment: {{\"\\e=\": 1, \"\\eX\": [1]}}\n"));
}

#[test]
fn names_that_are_too_long_are_refused_and_cut() {
    let told = refused(&format!("{HEAD}steps:\n- name: {}\n", "n".repeat(500_000)));
    assert!(told.contains("has 500000 characters in 500000 bytes, at most 100 in 128"), "{told}");
    let told = refused(&format!("{HEAD}steps:\n- name: {}\n", "é".repeat(65)));
    assert!(told.contains("has 65 characters in 130 bytes"), "{told}");
}

#[test]
fn mistakes_without_end_are_counted() {
    let mut text = format!("{HEAD}steps:\n");
    for n in 0..1_000 {
        writeln!(text, "- {{name: s{n}, comands: [], {}: 1}}", "k".repeat(500)).unwrap();
    }
    let told = refused(&text);
    assert!(told.ends_with("and 1980 more") && told.lines().count() == 21, "{told}");
}

#[test]
fn mistakes_do_not_repeat_what_is_long() {
    let name = "n".repeat(300_000);
    let mut text = format!("kind: pipeline\ntype: exec\nname: {name}\nclone:\n");
    for n in 0..20_000 {
        writeln!(text, "  retrys{n}: 1").unwrap();
    }
    let told = refused(&text);
    assert!(told.ends_with("and 19981 more"), "{told}");
}

#[test]
fn conditions_that_compare_without_end_are_refused() {
    let glob = "*a".repeat(400);
    let mut text = format!("{HEAD}x: &x [{}]\nsteps:\n", vec![format!("\"{glob}\""); 100].join(","));
    for n in 0..3 {
        writeln!(text, "- {{name: s{n}, when: {{branch: *x, ref: *x}}}}").unwrap();
    }
    assert!(refused(&text).contains("globs have more than 65536 bytes"));
}

#[test]
fn a_megabyte_of_anything_is_looked_at_in_time() {
    let fill = |piece: &str| piece.repeat((yaml::TEXT_BYTES_MAX - 100) / piece.len());
    let texts = [
        format!("x: |\n{}", fill("  line\n")),
        format!("x: >\n{}", fill("  line\n\n")),
        format!("x: \"{}\"", fill("\\n")),
        format!("x: \"{}\"", fill("line\n ")),
        format!("x: '{}'", fill("''")),
        format!("x: {}", fill("word ")),
        format!("x:\n{}", fill("  word\n")),
        format!("x: &{} y", fill("a")),
        format!("x: !<{}> y", fill("a")),
        format!("x: *{}", fill("a")),
        format!("? {}", fill("k")),
        fill("# comment\n"),
        fill("\n"),
        fill(" "),
        fill("\t"),
        fill("%TAG !a! b\n"),
        fill("a: 1\n"),
        fill("\"a\": "),
        fill("a: \n "),
        fill("- - - -\n"),
        fill("é"),
        fill("\u{feff}"),
        fill("]"),
        fill("'"),
        fill("`"),
    ];
    for text in texts {
        measured(|| match yaml::parse(&text) {
            Ok(manifest) => manifest.pipelines.len().to_string(),
            Err(mistakes) => mistakes.to_string(),
        });
    }
}

#[test]
fn expansions_that_multiply_or_search_without_end_are_refused() {
    let variables =
        BTreeMap::from([("LONG".to_owned(), "long".repeat(10_000)), ("DEEP".to_owned(), "a/".repeat(20_000))]);
    let cases = [
        ("${LONG}".repeat(1_000), "longer than 1048576 bytes"),
        (format!("${{LONG//long/{}}}", "x".repeat(100_000)), "longer than 1048576 bytes"),
        (format!("{}x{}", "${A=".repeat(100_000), "}".repeat(100_000)), "more than 16 expressions inside one another"),
        (format!("${{DEEP##{}z}}", "*/".repeat(100_000)), "search too much"),
        ("${DEEP%%*a*}".repeat(50_000), "search too much"),
        ("${LONG//x/y}".repeat(80_000), "longer than"),
        ("${LONG//long/}".repeat(70_000), "search too much"),
        ("${#LONG}".repeat(100_000), "search too much"),
    ];
    for (text, expected) in cases {
        let told = measured(|| expand(&text, &variables).unwrap_err().to_string());
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn no_text_of_random_pieces_makes_it_panic_or_linger() {
    const PIECES: [&str; 40] = [
        "kind: pipeline\n",
        "type: exec\n",
        "steps:\n",
        "- name: a\n",
        "  commands:\n",
        "  - make\n",
        "---\n",
        "...\n",
        "&a ",
        "*a ",
        "<<: ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        ", ",
        "? ",
        "- ",
        "| \n",
        "> \n",
        "\"",
        "'",
        "\\",
        "#",
        "!",
        "!!str ",
        "%TAG ! x\n",
        "\t",
        "\n",
        " ",
        "  ",
        "${A}",
        "${A:-",
        "$$",
        "\u{feff}",
        "\u{85}",
        "é",
        "when:\n",
        "depends_on: [a]\n",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let start = Instant::now();
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..40 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(PIECES[usize::try_from(state >> 33).unwrap() % PIECES.len()]);
        }
        if let Err(refusal) = lint::lint(&text, &Options::default()) {
            let told = refusal.to_string();
            assert!(
                !told.is_empty() && told.chars().all(|char| char == '\n' || !char.is_control()),
                "{text:?}: {told:?}"
            );
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}
