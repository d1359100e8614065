//! `${…}` as Drone's runners expand it.

use std::collections::BTreeMap;

use dlite::pipeline::expand::{Reason, expand};

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_form_becomes_what_its_table_says() {
    let variables = variables(&[
        ("NAME", "kettleBOIL"),
        ("PATH_NAME", "/srv/tea/pots.of.today"),
        ("SHA", "2e2e7a5d60992ffd20ea1d23a78ff960ddbc7bb8"),
        ("FILE", "kettle.test.txt"),
        ("FILE_2", "a/b/c"),
        ("SWAP", "oneTWO123TWOone"),
        ("TEA", "grün"),
        ("EMPTY", ""),
        ("OTHER", "spare"),
    ]);
    let cases = [
        // texts without an expression
        ("plain text", "plain text"),
        ("$NAME stays for the shell", "$NAME stays for the shell"),
        ("costs 5$", "costs 5$"),
        ("$(date) stays", "$(date) stays"),
        // values
        ("${NAME}", "kettleBOIL"),
        ("<${MISSING}>", "<>"),
        ("${NAME}-${OTHER}", "kettleBOIL-spare"),
        // defaults
        ("${NAME=x}", "kettleBOIL"),
        ("${MISSING=x}", "x"),
        ("${MISSING:=x}", "x"),
        ("${MISSING:-x y}", "x y"),
        ("${EMPTY:-x}", "x"),
        ("${MISSING:?x}", "x"),
        ("${MISSING:+x}", "x"),
        ("${NAME:+x}", "kettleBOIL"),
        ("<${MISSING=}>", "<>"),
        ("${MISSING=${OTHER}}", "spare"),
        ("${MISSING:-pre-${OTHER^^}-post}", "pre-SPARE-post"),
        ("${MISSING=${GONE=${OTHER}}}", "spare"),
        // parts
        ("${SHA:0:8}", "2e2e7a5d"),
        ("${PATH_NAME:9}", "pots.of.today"),
        ("${PATH_NAME:9:4}", "pots"),
        ("${NAME:100}", ""),
        ("${NAME:6:100}", "BOIL"),
        ("${NAME:0:-4}", "kettle"),
        ("${NAME: -4}", "BOIL"),
        ("${NAME:x}", "kettleBOIL"),
        ("${TEA:2:1}", "ü"),
        // length
        ("${#NAME}", "10"),
        ("${#TEA}", "4"),
        ("${#MISSING}", "0"),
        // case
        ("${NAME^}", "KettleBOIL"),
        ("${NAME^^}", "KETTLEBOIL"),
        ("${NAME,,}", "kettleboil"),
        ("${SWAP^^}", "ONETWO123TWOONE"),
        ("${TEA^^}", "GRÜN"),
        ("${MISSING^}", ""),
        // beginnings and ends
        ("${FILE#*.}", "test.txt"),
        ("${FILE##*.}", "txt"),
        ("${FILE%.*}", "kettle.test"),
        ("${FILE%%.*}", "kettle"),
        ("${FILE_2#*/}", "b/c"),
        ("${FILE_2##*/}", "c"),
        ("${FILE_2%/*}", "a/b"),
        ("${FILE_2%%/*}", "a"),
        ("${FILE#kettle}", ".test.txt"),
        ("${FILE#x}", "kettle.test.txt"),
        ("${FILE%t?t}", "kettle.test."),
        ("${FILE#[a-k]}", "ettle.test.txt"),
        ("${FILE%[^a-k]}", "kettle.test.tx"),
        ("${FILE#[}", "kettle.test.txt"),
        // replacements
        ("${SWAP/TWO/2}", "one2123TWOone"),
        ("${SWAP//TWO/2}", "one21232one"),
        ("${SWAP/#one/1}", "1TWO123TWOone"),
        ("${SWAP/%one/1}", "oneTWO123TWO1"),
        ("${SWAP/#TWO/1}", "oneTWO123TWOone"),
        ("${FILE_2//\\//-}", "a-b-c"),
        ("${FILE_2/\\//-}", "a-b/c"),
        ("${FILE/./}", "kettletest.txt"),
        ("${FILE//./}", "kettletesttxt"),
        ("${FILE//.*/x}", "kettle.test.txt"),
        // dollars that stay
        ("$${NAME}", "${NAME}"),
        ("$$", "$"),
        ("$$$$", "$$"),
        ("$${MISSING=${OTHER}}", "${MISSING=spare}"),
        ("${NAME}$${x$${NAME}$NAME${NAME}", "kettleBOIL${x${NAME}$NAMEkettleBOIL"),
        ("\\\\server ${OTHER}", "\\\\server spare"),
    ];
    for (text, expected) in cases {
        assert_eq!(expand(text, &variables).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_value_of_several_lines_stays_on_its_line_in_quotes() {
    let variables = variables(&[("MESSAGE", "boil \"faster\"\n\tand louder")]);
    let text = expand("say: ${MESSAGE}\nnext: line", &variables).unwrap();
    assert_eq!(text, "say: \"boil \\\"faster\\\"\\n\\tand louder\"\nnext: line");
}

#[test]
fn a_value_is_not_expanded_again() {
    let variables = variables(&[("A", "${B}"), ("B", "secret")]);
    assert_eq!(expand("${A} ${A:-x} ${A/x/y}", &variables).as_deref(), Ok("${B} ${B} ${B}"));
}

#[test]
fn an_expression_that_is_none_is_named_with_its_line_and_a_way_out() {
    let cases = [
        ("${}", Reason::NoName),
        ("${-x}", Reason::NoName),
        ("${NAME", Reason::Unclosed),
        ("${NAME:-x", Reason::Unclosed),
        ("${NAME-x}", Reason::UnknownForm),
        ("${NAME }", Reason::UnknownForm),
        ("${NAME^^x}", Reason::UnknownForm),
        ("${A[0]}", Reason::UnknownForm),
        ("${!NAME}", Reason::NoName),
    ];
    for (expression, reason) in cases {
        let text = format!("kind: pipeline\nname: x\ncommand: {expression}");
        let error = expand(&text, &BTreeMap::new()).unwrap_err();
        assert_eq!((error.line, error.reason), (3, reason), "{expression}");
        assert!(error.to_string().starts_with("line 3: the expression \"${"), "{error}");
        assert!(error.to_string().contains("write $${"), "{error}");
    }
}
