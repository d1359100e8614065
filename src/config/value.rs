//! From a raw value to a meant one, by the option's kind.
//!
//! It judges one value alone and touches nothing outside it: neither files nor other options.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use tracing_subscriber::EnvFilter;

use super::{
    options::{Kind, LIST_LEN_MAX, SOCKET_PATH_BYTES_MAX, TEXT_BYTES_MAX},
    proxy::{BadProxy, NO_PROXY_AT_ALL, Proxy, ProxyUrl},
    ratio::{BadRatio, Ratio},
    secret::Secret,
};

/// A value as a layer gave it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// From environment or flag, where everything is text: numbers, lists and durations too.
    Words(String),
    /// As `Words`, but a duration is whole milliseconds.
    Milliseconds(String),
    Text(String),
    Boolean(bool),
    /// `None` if it does not fit.
    Integer(Option<i64>),
    /// As it stands in the file.
    Float(String),
    List(Vec<Raw>),
    /// Anything else, by TOML's name for it.
    Other(&'static str),
}

/// A value of the right shape and within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Boolean(bool),
    Count(u32),
    Duration(Duration),
    Path(PathBuf),
    Address(SocketAddr),
    Listen(Listen),
    Secret(Secret),
    Proxy(Proxy),
    Ratio(Ratio),
    Texts(Vec<String>),
    Paths(Vec<PathBuf>),
}

/// Where something listens that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    On(SocketAddr),
    Off,
}

/// How [`Listen::Off`] is spelt.
const OFF: &str = "off";

/// Why a value is refused, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: String,
    pub fix: String,
}

/// Units of durations with their milliseconds, longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The first duration that is shown in minutes.
const SECONDS_UNTIL: Duration = Duration::from_secs(120);

impl Value {
    pub(super) fn parse(kind: Kind, raw: &Raw) -> Result<Self, Refusal> {
        match kind {
            Kind::Text => Ok(Self::Text(text(raw)?)),
            Kind::Word => word(raw).map(Self::Text),
            Kind::Id => id(raw).map(Self::Text),
            Kind::Choice(choices) => choice(raw, choices).map(Self::Text),
            Kind::Filter => filter(raw).map(Self::Text),
            Kind::Boolean => boolean(raw).map(Self::Boolean),
            Kind::Count(min, max) => count(raw, min, max).map(Self::Count),
            Kind::Duration(min, max) => duration(raw, min, max).map(Self::Duration),
            Kind::Path => Ok(Self::Path(path(raw)?)),
            Kind::Socket => socket(raw).map(Self::Path),
            Kind::Address => address(raw).map(Self::Address),
            Kind::Listen => listen(raw).map(Self::Listen),
            Kind::Endpoint => endpoint(raw, &MANAGER).map(Self::Text),
            Kind::Collector => endpoint(raw, &COLLECTOR).map(Self::Text),
            Kind::Ratio => ratio(raw).map(Self::Ratio),
            Kind::Secret => secret(raw).map(Self::Secret),
            Kind::Token => token(raw).map(Self::Secret),
            Kind::Proxy => proxy(raw).map(Self::Proxy),
            Kind::Texts => list(raw, text).map(Self::Texts),
            Kind::Pointers => list(raw, pointer).map(Self::Texts),
            Kind::Paths => list(raw, path).map(Self::Paths),
        }
    }

    /// For JSON output: booleans, numbers and lists as such, durations and all else as text, secrets masked.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Boolean(value) => (*value).into(),
            Self::Count(value) => (*value).into(),
            Self::Texts(values) => values.clone().into(),
            Self::Paths(values) => values.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().into(),
            Self::Text(value) => value.clone().into(),
            Self::Duration(value) => show_duration(*value).into(),
            Self::Path(value) => value.display().to_string().into(),
            Self::Address(value) | Self::Listen(Listen::On(value)) => value.to_string().into(),
            Self::Listen(Listen::Off) => OFF.into(),
            Self::Secret(value) => value.to_string().into(),
            Self::Proxy(value) => value.to_string().into(),
            Self::Ratio(value) => value.to_json(),
        }
    }
}

/// The account secret in the form the token code needs: 32 hex digits, decoded from base64 if it came so.
pub(super) fn account_secret(given: &str) -> Result<Secret, Refusal> {
    let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let given = given.trim();
    if is_hex(given) {
        return Ok(Secret::new(given));
    }
    let decoded = STANDARD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().map(str::trim) {
        Some(text) if is_hex(text) => Ok(Secret::new(text)),
        _ => refuse(
            format!("{} characters that are neither 32 hex digits nor base64 of them", given.chars().count()),
            "copy the delegate token of the account once more",
        ),
    }
}

/// A Drone server's secret: whatever fits into a header.
pub(super) fn shared_secret(given: &str) -> Result<Secret, Refusal> {
    let given = given.trim();
    let fits = given.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if given.is_empty() || given.len() > TEXT_BYTES_MAX || !fits {
        return refuse(
            format!("{} characters that are no single line of visible ASCII", given.chars().count()),
            "copy DRONE_RPC_SECRET of the server once more",
        );
    }
    Ok(Secret::new(given))
}

/// In the largest unit that gives a whole number, so that it reads back equal: `100ms`, `5m`, `24h`. Whole seconds stay seconds up
/// to [`SECONDS_UNTIL`], as people write them.
pub(super) fn show_duration(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let fits = |factor: u64| millis.is_multiple_of(factor) && (factor <= 1_000 || value >= SECONDS_UNTIL);
    let (unit, factor) = UNITS.into_iter().find(|(_, factor)| fits(*factor)).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / factor)
}

// === kinds ===

fn text(raw: &Raw) -> Result<String, Refusal> {
    let text = match raw {
        Raw::Words(text) | Raw::Text(text) => text.trim(),
        other => return Err(other.is_not("a text", "put it in double quotes")),
    };
    if text.is_empty() {
        return refuse("empty", "write a value, or remove the option");
    }
    if text.len() > TEXT_BYTES_MAX {
        return refuse(format!("{} bytes long", text.len()), format!("use at most {TEXT_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return refuse("holds a control character", "write it as one line of printable text");
    }
    Ok(text.to_owned())
}

fn word(raw: &Raw) -> Result<String, Refusal> {
    let text = text(raw)?;
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.chars().all(simple) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(text);
    }
    refuse("is not a simple name", "use letters, digits, \".\", \"_\" and \"-\" only, a letter or digit first")
}

fn id(raw: &Raw) -> Result<String, Refusal> {
    let text = text(raw)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Ok(text);
    }
    refuse("is not an id", "copy it as the manager shows it: letters, digits, \"_\" and \"-\" only")
}

/// A task type, `=`, and a pointer as of RFC 6901.
fn pointer(raw: &Raw) -> Result<String, Refusal> {
    let text = text(raw)?;
    match text.split_once('=') {
        Some((task_type, pointer)) if !task_type.is_empty() && pointer.starts_with('/') => Ok(text),
        _ => refuse("is no task type with a pointer", "write it as \"TYPE=/path/to/id\", as in \"CI_SETUP=/stage/id\""),
    }
}

fn choice(raw: &Raw, choices: &[&str]) -> Result<String, Refusal> {
    let text = text(raw)?;
    if choices.contains(&text.as_str()) {
        return Ok(text);
    }
    let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    refuse(format!("{text:?} is not one of its values"), format!("write {}", choices.join(" or ")))
}

fn filter(raw: &Raw) -> Result<String, Refusal> {
    let text = text(raw)?;
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => refuse(
            format!("not a log filter: {error}"),
            "write a level (\"error\", \"warn\", \"info\", \"debug\", \"trace\"), or \"info,dlite::core=debug\"",
        ),
    }
}

fn boolean(raw: &Raw) -> Result<bool, Refusal> {
    match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Words(text) if text.trim() == "true" => Ok(true),
        Raw::Words(text) if text.trim() == "false" => Ok(false),
        other => Err(other.is_not("true or false", "write true or false, without quotes")),
    }
}

fn count(raw: &Raw, min: u32, max: u32) -> Result<u32, Refusal> {
    let bounds = format!("write a whole number from {min} to {max}");
    let number = match raw {
        Raw::Integer(number) => number.ok_or(()),
        Raw::Words(text) => text.trim().parse::<i64>().map_err(|_| ()),
        other => return Err(other.is_not("a whole number", bounds)),
    };
    match number.map(|number| u32::try_from(number).ok().filter(|number| (min..=max).contains(number))) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => refuse("out of bounds", bounds),
        Err(()) => refuse("not a whole number, or far too large", bounds),
    }
}

fn duration(raw: &Raw, min: Duration, max: Duration) -> Result<Duration, Refusal> {
    let (low, high) = (show_duration(min), show_duration(max));
    let (text, value) = match raw {
        Raw::Milliseconds(text) => (text.trim(), text.trim().parse().ok().map(Duration::from_millis)),
        Raw::Words(text) | Raw::Text(text) => (text.trim(), parse_duration(text.trim())),
        Raw::Integer(Some(number)) => {
            return refuse("has no unit", format!("write a text with its unit, for example \"{number}s\""));
        }
        other => return Err(other.is_not("a duration", format!("write for example {low:?}"))),
    };
    match (value, raw) {
        (Some(value), _) if (min..=max).contains(&value) => Ok(value),
        (Some(_), _) => refuse(format!("{text:?} is out of bounds"), format!("write a duration from {low} to {high}")),
        (None, Raw::Milliseconds(_)) => {
            refuse(format!("{text:?} is not a number of milliseconds"), "write whole milliseconds without a unit")
        }
        (None, _) => refuse(
            format!("{text:?} is not a duration"),
            "write a whole number and its unit, ms, s, m or h, for example \"60s\"",
        ),
    }
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_millis)
}

fn path(raw: &Raw) -> Result<PathBuf, Refusal> {
    let text = match raw {
        // Longer than other texts may be: the bound of a path is the system's.
        Raw::Words(text) | Raw::Text(text) if !text.is_empty() => text,
        Raw::Words(_) | Raw::Text(_) => return refuse("empty", "write a path, or remove the option"),
        other => return Err(other.is_not("a path", "put it in double quotes")),
    };
    if text.contains('\0') {
        return refuse("holds a zero byte", "write a path");
    }
    if text.starts_with('~') {
        return refuse("starts with ~, which only a shell understands", "write the whole path");
    }
    Ok(PathBuf::from(text))
}

fn socket(raw: &Raw) -> Result<PathBuf, Refusal> {
    let path = path(raw)?;
    socket_fits(&path)?;
    Ok(path)
}

/// Also asked of defaults, since a home directory may be long.
pub(super) fn socket_fits(path: &std::path::Path) -> Result<(), Refusal> {
    let len = path.as_os_str().len();
    if len <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    refuse(
        format!("{len} bytes long, and the system allows {SOCKET_PATH_BYTES_MAX} for a Unix socket"),
        "choose a shorter path",
    )
}

fn address(raw: &Raw) -> Result<SocketAddr, Refusal> {
    let text = text(raw)?;
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => refuse(
            format!("{text:?} is not an IP address with a port"),
            "write for example \"127.0.0.1:7070\" or \"[::1]:7070\"",
        ),
    }
}

fn listen(raw: &Raw) -> Result<Listen, Refusal> {
    if text(raw)? == OFF {
        return Ok(Listen::Off);
    }
    address(raw).map(Listen::On).map_err(|refusal| Refusal { fix: format!("{}, or {OFF:?}", refusal.fix), ..refusal })
}

/// What a base URL leads to, in complaints about it.
struct Server {
    url: &'static str,
    authentication: &'static str,
    paths: &'static str,
}

const MANAGER: Server = Server {
    url: "write the manager's base URL, for example \"https://manager.example.com\"",
    authentication: "remove them; the account secret is what authenticates",
    paths: "remove what follows \"?\" or \"#\"; the delegate appends paths",
};
const COLLECTOR: Server = Server {
    url: "write the collector's base URL, for example \"http://127.0.0.1:4317\"",
    authentication: "remove them; headers that authenticate go into a file, for traces into traces.headers_file",
    paths: "remove what follows \"?\" or \"#\"",
};

fn endpoint(raw: &Raw, server: &Server) -> Result<String, Refusal> {
    let fix = server.url;
    let text = text(raw)?;
    // The parser's error and the URL are not repeated: there may be a password in it.
    let Ok(url) = reqwest::Url::parse(&text) else { return refuse("not a URL", fix) };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return refuse("not an http or https URL", fix);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds a user name or password", server.authentication);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or fragment", server.paths);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn ratio(raw: &Raw) -> Result<Ratio, Refusal> {
    let text = match raw {
        Raw::Words(text) | Raw::Float(text) => text.trim().to_owned(),
        Raw::Integer(Some(number)) => number.to_string(),
        other => return Err(other.is_not("a number", "write for example 0.25, without quotes")),
    };
    text.parse().map_err(|BadRatio| Refusal {
        reason: format!("{text:?} is not a number from 0 to 1"),
        fix: "write for example 0.25, with at most six decimals".into(),
    })
}

fn secret(raw: &Raw) -> Result<Secret, Refusal> {
    match raw {
        Raw::Words(text) | Raw::Text(text) => account_secret(text),
        other => Err(other.is_not("a text", "put it in double quotes")),
    }
}

fn token(raw: &Raw) -> Result<Secret, Refusal> {
    match raw {
        Raw::Words(text) | Raw::Text(text) => shared_secret(text),
        other => Err(other.is_not("a text", "put it in double quotes")),
    }
}

fn proxy(raw: &Raw) -> Result<Proxy, Refusal> {
    let text = text(raw)?;
    if text.eq_ignore_ascii_case(NO_PROXY_AT_ALL) {
        return Ok(Proxy::None);
    }
    text.parse::<ProxyUrl>().map(Proxy::Through).map_err(|error| Refusal {
        reason: error.to_string(),
        fix: match error {
            BadProxy::Url => {
                "write for example \"http://proxy.example.com:3128\", or \"none\"; escape odd characters of a password"
            }
            BadProxy::Scheme => {
                "name an http or https proxy, for example \"http://proxy.example.com:3128\", or \"none\""
            }
            BadProxy::Path => {
                "remove what follows host and port; escape \"/\", \"?\" and \"#\" in a password as %2F, %3F and %23"
            }
        }
        .into(),
    })
}

fn list<T>(raw: &Raw, item: fn(&Raw) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
    let items: Vec<Raw> = match raw {
        Raw::List(items) => items.clone(),
        Raw::Words(text) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(|word| Raw::Words(word.to_owned())).collect()
        }
        other => return Err(other.is_not("a list", "write [\"one\", \"two\"]")),
    };
    if items.len() > LIST_LEN_MAX {
        return refuse(format!("{} entries", items.len()), format!("use at most {LIST_LEN_MAX}"));
    }
    let numbered = items.iter().enumerate().map(|(number, raw)| {
        item(raw).map_err(|refusal| Refusal { reason: format!("entry {}: {}", number + 1, refusal.reason), ..refusal })
    });
    numbered.collect()
}

fn refuse<T>(reason: impl Into<String>, fix: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason: reason.into(), fix: fix.into() })
}

// === impl Raw ===

impl Raw {
    fn is_not(&self, wanted: &str, fix: impl Into<String>) -> Refusal {
        let given = match self {
            // Not the text itself: the option it was meant for may be a secret.
            Self::Words(_) | Self::Milliseconds(_) | Self::Text(_) => "a text",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::List(_) => "a list",
            Self::Other(name) => name,
        };
        Refusal { reason: format!("{given} where {wanted} is expected"), fix: fix.into() }
    }
}

// === impl Value ===

/// As the file would spell it; secrets masked.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // JSON's strings, numbers, booleans and lists are TOML's too.
        write!(f, "{}", self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_people_write_them_and_read_back_equal() {
        for text in ["0s", "1ms", "100ms", "1500ms", "60s", "90s", "2m", "121s", "10m", "1h", "24h", "168h"] {
            let value = parse_duration(text).expect("a duration");
            assert_eq!(show_duration(value), text);
        }
    }
}
