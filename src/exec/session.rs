//! The session that a script's task belongs to: given as files and variables, and read back when the script has done well.
//!
//! * `$DLITE_SESSION_STATE` and `$DLITE_SESSION_SENSITIVE_STATE` are files (0600) with the state, empty while there is none. What the
//!   script leaves in them is the state from then on, durable together with its result; a removed file changes nothing.
//! * Variables that earlier tasks exported are in the environment, under names that can't turn a program into another one; sensitive ones
//!   are files beside the secrets.

use std::io;

use bytes::Bytes;

use super::{result, room::Room};
use crate::sdk::{ExportedVariable, Payload, STATE_BYTES_MAX, Session, StateChange};

/// Variables by which programs find programs and libraries, beside all that begin with `LD_` and `DLITE_`: a step is not to change
/// them for the next one's script.
const RESERVED: [&str; 9] =
    ["PATH", "HOME", "LANG", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "TRACEPARENT", "TRACESTATE"];

/// Writes both states for the script.
pub(super) fn write(room: &Room, session: &Session) -> io::Result<()> {
    let content = |payload: Option<&Payload>| payload.map_or_else(Bytes::new, |payload| payload.inline.clone());
    room.write_private(&room.session_state(), &content(session.state_payload()))?;
    room.write_private(&room.sensitive_state(), &content(session.sensitive_state_payload()))
}

/// What the script changed; the error says what is wrong with it.
pub(super) fn read_back(room: &Room, session: &Session) -> Result<Option<StateChange>, String> {
    let state = changed("DLITE_SESSION_STATE", room.read(&room.session_state(), LIMIT), session.state_payload())?;
    let sensitive = room.read(&room.sensitive_state(), LIMIT);
    let sensitive = changed("DLITE_SESSION_SENSITIVE_STATE", sensitive, session.sensitive_state_payload())?;
    if state.is_none() && sensitive.is_none() {
        return Ok(None);
    }
    let tell = |error: crate::sdk::StateError| error.to_string();
    let mut change = session.change();
    if let Some(state) = state {
        change = change.state_payload(state).map_err(tell)?;
    }
    if let Some(sensitive) = sensitive {
        change = change.sensitive_state_payload(sensitive).map_err(tell)?;
    }
    Ok(Some(change))
}

/// The variable may be in a script's environment.
pub(super) fn is_usable(variable: &ExportedVariable) -> bool {
    let name = variable.name.as_str();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = name.bytes().next().is_some_and(|byte| is_plain(byte) && !byte.is_ascii_digit());
    let is_reserved = RESERVED.contains(&name) || name.starts_with("LD_") || name.starts_with("DLITE_");
    begins_well && name.bytes().all(is_plain) && !is_reserved && !variable.value.contains('\0')
}

const LIMIT: u64 = STATE_BYTES_MAX as u64;

fn changed(file: &str, read: io::Result<Vec<u8>>, before: Option<&Payload>) -> Result<Option<Payload>, String> {
    let after = match read {
        Ok(after) => after,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("${file} can't be read: {error}")),
    };
    if after.len() > STATE_BYTES_MAX {
        return Err(format!("${file} has more than {STATE_BYTES_MAX} bytes"));
    }
    let before = before.map_or(&b""[..], |payload| &payload.inline);
    Ok((after != before).then(|| result::payload(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_variable_can_not_change_which_programs_run() {
        let variable =
            |name: &str, value: &str| ExportedVariable { name: name.into(), value: value.into(), sensitive: false };
        assert!(is_usable(&variable("SHA", "11aa")) && is_usable(&variable("_a1", "two\nlines")));
        for name in ["", "1A", "A-B", "A B", "A=B", "PATH", "LD_PRELOAD", "DLITE_TASK_ID", "BASH_ENV", "É"] {
            assert!(!is_usable(&variable(name, "x")), "{name:?}");
        }
        assert!(!is_usable(&variable("SHA", "a\0b")));
    }

    #[test]
    fn only_what_is_another_state_is_a_change() {
        let before = Payload::new("application/json", "{}");
        assert_eq!(changed("X", Ok(b"{}".to_vec()), Some(&before)), Ok(None));
        assert_eq!(changed("X", Ok(Vec::new()), None), Ok(None));
        assert_eq!(changed("X", Err(io::ErrorKind::NotFound.into()), Some(&before)), Ok(None));
        assert_eq!(changed("X", Ok(b"[1]".to_vec()), None), Ok(Some(Payload::new("application/json", "[1]"))));
        assert_eq!(
            changed("X", Ok(Vec::new()), Some(&before)).map(|payload| payload.map(|it| it.inline.len())),
            Ok(Some(0))
        );
        let error = changed("X", Ok(vec![0; STATE_BYTES_MAX + 1]), None).expect_err("too large");
        assert_eq!(error, "$X has more than 196608 bytes");
    }
}
