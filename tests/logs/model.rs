//! Masking as the documentation defines it, and nothing else: every form is compared at every place.

use dlite::logs::mask::{MASK, SECRET_BYTES_MIN};

/// What is done to a masker.
#[derive(Clone, Debug)]
pub enum Step {
    Line(Vec<u8>),
    Settle,
}

/// The lines that come out of `steps`.
pub fn mask(forms: &[Vec<u8>], steps: &[Step]) -> Vec<Vec<u8>> {
    let mut text: Vec<u8> = Vec::new();
    let mut hidden: Vec<bool> = Vec::new();
    // Ends of the text at each settling: what stands before is out.
    let mut settled = 0;
    let mut out = Vec::new();
    // Start, end and "had a return" of lines that are still in.
    let mut lines: Vec<(usize, usize, bool)> = Vec::new();
    for step in steps.iter().chain([&Step::Settle]) {
        match step {
            Step::Line(line) => {
                let content = line.strip_suffix(b"\r").unwrap_or(line);
                let before = text.len();
                text.extend(content);
                hidden.resize(text.len(), false);
                lines.push((before, text.len(), content.len() < line.len()));
                for end in before + 1..=text.len() {
                    let found = forms.iter().filter(|form| text[..end].ends_with(form)).map(Vec::len).max();
                    if let Some(found) = found {
                        hidden[settled.max(end - found).min(end)..end].fill(true);
                    }
                }
            }
            Step::Settle => {
                let begun = begun(forms, &text);
                if begun >= SECRET_BYTES_MIN {
                    let end = text.len();
                    hidden[settled.max(end - begun).min(end)..].fill(true);
                }
                settled = text.len();
                for (start, end, has_return) in lines.drain(..) {
                    let mut line = shown(&text[start..end], &hidden[start..end]);
                    line.extend(has_return.then_some(b'\r'));
                    out.push(line);
                }
            }
        }
    }
    out
}

/// Length of the longest end of `text` that is the beginning of a form, but not a whole one.
pub fn begun(forms: &[Vec<u8>], text: &[u8]) -> usize {
    let longest = forms.iter().map(|form| form.len().saturating_sub(1)).max().unwrap_or(0).min(text.len());
    let is_begun = |length: &usize| {
        let end = &text[text.len() - length..];
        forms.iter().any(|form| form.len() > *length && form.starts_with(end))
    };
    (1..=longest).rev().find(is_begun).unwrap_or(0)
}

fn shown(line: &[u8], hidden: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in line.iter().enumerate() {
        match hidden[at] {
            false => out.push(*byte),
            true if at == 0 || !hidden[at - 1] => out.extend(MASK),
            true => {}
        }
    }
    out
}

#[test]
fn the_model_does_as_documented() {
    let forms: Vec<Vec<u8>> = [&b"hunter22"[..], b"hunter", b"22ab"].iter().map(|form| form.to_vec()).collect();
    let lines = |lines: &[&str]| lines.iter().map(|line| Step::Line(line.as_bytes().to_vec())).collect::<Vec<_>>();
    let masked = |steps: &[Step]| {
        let lines = mask(&forms, steps);
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        masked(&lines(&["a hunter22ab b", "hun", "", "ter\r", "3"])),
        ["a ****** b", "******", "", "******\r", "3"]
    );
    let mut steps = lines(&["my hun", "ter"]);
    steps.insert(1, Step::Settle);
    assert_eq!(masked(&steps), ["my hun", "******"]);
    assert_eq!(masked(&lines(&["my hunt"])), ["my ******"]);
}
