//! A secret is accepted in each of its forms and shown in none.

use base64::{Engine, engine::general_purpose::STANDARD};
use dlite::{
    cli::config::{Output, check_to, show_to},
    config::{MASK, Secret, load},
};

use crate::support::{OTHER_SECRET, SECRET, Scene, UPSTREAM};

#[test]
fn a_secret_does_not_print() {
    let secret = Secret::new(SECRET);
    assert_eq!(
        (format!("{secret}"), format!("{secret:?}"), format!("{secret:#?}")),
        (MASK.into(), MASK.into(), MASK.into())
    );
    assert_eq!(secret.expose(), SECRET);
}

#[test]
fn a_secret_comes_as_hex_or_as_base64_of_it() {
    let forms =
        [SECRET.to_owned(), SECRET.to_uppercase(), STANDARD.encode(SECRET), STANDARD.encode(format!("{SECRET}\n"))];
    for form in forms {
        let config = Scene::new(&UPSTREAM.replace(SECRET, &form)).config();
        assert!(config.upstreams[0].account_secret.expose().eq_ignore_ascii_case(SECRET), "{form}");
    }
}

/// Everything that a configuration can make the commands say.
fn all_output(scene: &Scene) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    check_to(&scene.options, &mut out, &mut err).expect("written");
    for output in [Output::Table, Output::Json] {
        show_to(&scene.options, true, output, &mut out, &mut err).expect("written");
    }
    let loaded = load(&scene.options);
    format!("{}{}{loaded:?}{loaded:#?}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
}

#[test]
fn no_output_holds_a_secret_however_it_was_given() {
    let from_file = Scene::new(&UPSTREAM.replace("account_secret =", "account_secret_file = \"s\" #"));
    from_file.file("s", OTHER_SECRET);
    let environment = Scene::new(UPSTREAM).environment("DLITE_ACCOUNT_SECRET", OTHER_SECRET);
    for scene in [Scene::new(UPSTREAM), from_file, environment] {
        let output = all_output(&scene);
        assert!(output.contains(MASK), "{output}");
        assert!(!output.contains(SECRET) && !output.contains(OTHER_SECRET), "{output}");
    }
}

#[test]
fn no_complaint_holds_a_secret_however_it_is_misplaced() {
    let half = &SECRET[..30];
    let in_file = |line: &str| Scene::new(&format!("{UPSTREAM}{line}\n"));
    let scenes = [
        in_file(&format!("account_secert = \"{half}\"")),
        in_file(&format!("account_secret = \"{half}\"")),
        in_file(&format!("account_secret_ = \"{half}")),
        in_file(&format!("account_secret_ = {half}")),
        in_file(&format!("tls.verify = \"{half}\"")),
        Scene::new(&UPSTREAM.replace(SECRET, half)),
        Scene::new(&UPSTREAM.replace("https://", &format!("https://user:{half}@"))),
        Scene::new(UPSTREAM).environment("DLITE_ACCOUNT_SECRET", half),
        Scene::new(UPSTREAM).environment("DLITE_ACCOUNT_SECERT", half).environment("DLITE_TASKS_MAX", "0"),
        Scene::new(UPSTREAM).flag("upstreams[].account_secret", half),
        Scene::new(UPSTREAM).flag("upstreams[].account_secert", half),
    ];
    for scene in scenes {
        let refused = load(&scene.options).expect_err("a mistake");
        let output = all_output(&scene);
        assert!(!output.contains(half), "{output}");
        assert!(!format!("{:?}", scene.options).contains(half));
        assert!(!format!("{refused}{refused:?}").contains(half), "{refused}");
    }
}

#[test]
fn a_secret_is_refused_on_the_command_line() {
    let complaint = Scene::new(UPSTREAM).flag("upstreams[].account_secret", SECRET).complaint();
    assert!(complaint.to_string().contains("account_secret_file"), "{complaint}");
}
