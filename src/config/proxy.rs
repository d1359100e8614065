//! The proxy between this process and an upstream, and the hosts that are reached without it.
//!
//! It parses and matches; it reads no environment and connects to nothing.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;

use super::secret::MASK;

/// What stands in `proxy` to use none, whatever the environment says.
pub const NO_PROXY_AT_ALL: &str = "none";

/// The option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Connect directly.
    None,
    Through(ProxyUrl),
}

/// URL of a proxy, http or https. Its user and password are secret: neither `Debug` nor `Display` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Why a text is no proxy's URL. The text is not repeated, for a password may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    #[error("not a URL")]
    Url,
    #[error("a proxy of a kind that is not spoken")]
    Scheme,
    #[error("has a path, query or fragment")]
    Path,
}

/// Hosts that are reached without the proxy.
///
/// | rule | matches |
/// |---|---|
/// | `*` | everything |
/// | `example.com` | that host and all below it |
/// | `.example.com`, `*.example.com` | all below it, not itself |
/// | `192.0.2.1`, `[2001:db8::1]` | that address |
/// | `192.0.2.0/24`, `2001:db8::/32` | addresses of that network |
///
/// Each may end in `:port`, which then has to be the same. Names are compared without regard to case and are never resolved, so a
/// network does not match a name. These are the rules of the Go client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy {
    rules: Vec<Rule>,
}

/// A rule that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} is neither a host, a domain suffix, an address, a network nor \"*\"")]
pub struct BadRule {
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// Lower case, without the dot; itself only if `apex`.
    Domain {
        suffix: String,
        apex: bool,
    },
    Address(IpAddr),
    Network(IpAddr, u8),
}

// === impl ProxyUrl ===

impl ProxyUrl {
    /// With user and password.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        host_of(&self.0)
    }

    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }
}

impl FromStr for ProxyUrl {
    type Err = BadProxy;

    /// A text without a scheme is an http one, as environments often have it.
    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|_| BadProxy::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadProxy::Scheme);
        }
        if !url.has_host() {
            return Err(BadProxy::Url);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(BadProxy::Path);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_user = !self.0.username().is_empty() || self.0.password().is_some();
        let user = if has_user { format!("{MASK}@") } else { String::new() };
        write!(f, "{}://{user}{}:{}", self.0.scheme(), self.0.host_str().unwrap_or_default(), self.port())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NO_PROXY_AT_ALL),
            Self::Through(url) => url.fmt(f),
        }
    }
}

// === impl NoProxy ===

impl NoProxy {
    /// # Errors
    /// The first text that is no rule; empty ones are left out.
    pub fn parse<T: AsRef<str>>(rules: impl IntoIterator<Item = T>) -> Result<Self, BadRule> {
        let rules = rules.into_iter().filter(|rule| !rule.as_ref().trim().is_empty());
        Ok(Self { rules: rules.map(|rule| rule.as_ref().parse()).collect::<Result<_, _>>()? })
    }

    /// Whether the host of this URL is reached without the proxy.
    pub fn matches(&self, url: &Url) -> bool {
        let (host, port) = (host_of(url).trim_end_matches('.').to_ascii_lowercase(), url.port_or_known_default());
        let address = host.parse::<IpAddr>().ok();
        self.rules.iter().any(|rule| {
            let port_fits = rule.port.is_none_or(|wanted| port == Some(wanted));
            port_fits
                && match &rule.hosts {
                    Hosts::All => true,
                    Hosts::Domain { suffix, apex } => match host.strip_suffix(suffix.as_str()) {
                        Some("") => *apex,
                        Some(before) => before.ends_with('.'),
                        None => false,
                    },
                    Hosts::Address(wanted) => address == Some(*wanted),
                    Hosts::Network(network, bits) => address.is_some_and(|address| is_within(address, *network, *bits)),
                }
        })
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let text = text.trim();
        let bad = || BadRule { rule: text.to_owned() };
        if text == "*" {
            return Ok(Self { hosts: Hosts::All, port: None });
        }
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| bad())?;
            let bits: u8 = bits.parse().map_err(|_| bad())?;
            let whole = if network.is_ipv4() { 32 } else { 128 };
            return if bits <= whole {
                Ok(Self { hosts: Hosts::Network(network, bits), port: None })
            } else {
                Err(bad())
            };
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self { hosts: Hosts::Address(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(Self { hosts: Hosts::Address(address), port });
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let suffix = below.unwrap_or(host).trim_end_matches('.').to_ascii_lowercase();
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if suffix.is_empty() || !suffix.chars().all(is_name) {
            return Err(bad());
        }
        Ok(Self { hosts: Hosts::Domain { suffix, apex: below.is_none() }, port })
    }
}

/// Without the brackets of an IPv6 address.
fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let dropped = width - u32::from(bits);
        // A shift by the whole width is none that exists; a network of no bits holds everything.
        a.checked_shr(dropped).unwrap_or(0) == b.checked_shr(dropped).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_matches_what_it_says_and_nothing_else() {
        let cases: [(&str, &[&str], &[&str]); 13] = [
            ("*", &["http://a", "https://192.0.2.1", "https://[2001:db8::1]"], &[]),
            (
                "example.com",
                &["https://example.com", "https://a.EXAMPLE.com", "https://example.com."],
                &["https://notexample.com"],
            ),
            ("Example.COM", &["https://example.com"], &["https://example.org"]),
            (".example.com", &["https://a.example.com"], &["https://example.com", "https://aexample.com"]),
            ("*.example.com", &["https://a.b.example.com"], &["https://example.com"]),
            ("localhost", &["http://localhost:1"], &["http://127.0.0.1:1"]),
            ("192.0.2.1", &["http://192.0.2.1:80"], &["http://192.0.2.10", "http://a.192.0.2.1.test"]),
            (
                "192.0.2.0/24",
                &["http://192.0.2.255"],
                &["http://192.0.3.0", "http://name.test", "http://[2001:db8::1]"],
            ),
            ("0.0.0.0/0", &["http://192.0.2.1"], &["http://name.test"]),
            ("2001:db8::/32", &["http://[2001:db8:1::1]"], &["http://[2001:db9::1]", "http://32.1.13.184"]),
            ("[2001:db8::1]:8443", &["https://[2001:db8::1]:8443"], &["https://[2001:db8::1]"]),
            ("example.com:443", &["https://example.com", "https://a.example.com:443"], &["http://example.com"]),
            ("192.0.2.1:80", &["http://192.0.2.1"], &["https://192.0.2.1"]),
        ];
        for (rule, inside, outside) in cases {
            let rules = NoProxy::parse([rule]).unwrap();
            let matches = |url: &&str| rules.matches(&Url::parse(url).unwrap());
            assert_eq!(inside.iter().find(|url| !matches(url)), None, "{rule} leaves one out");
            assert_eq!(outside.iter().find(|url| matches(url)), None, "{rule} takes one in");
        }
    }

    #[test]
    fn several_rules_are_one_or_the_other_and_blanks_are_none() {
        let rules = NoProxy::parse(["", " a.test ", "b.test"]).unwrap();
        let matches = |url| rules.matches(&Url::parse(url).unwrap());
        assert!(matches("http://a.test") && matches("http://b.test") && !matches("http://c.test"));
        assert!(!NoProxy::default().matches(&Url::parse("http://a.test").unwrap()));
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for rule in ["192.0.2.0/33", "192.0.2/24", "a/8", "http://a", "a:port", "a b", ".", "**"] {
            assert!(NoProxy::parse([rule]).unwrap_err().to_string().contains(rule), "{rule}");
        }
    }

    #[test]
    fn a_proxy_url_shows_neither_user_nor_password() {
        for text in
            ["http://joe:hunter2@proxy.test:3128", "joe:hunter2@proxy.test:3128", "https://joe:hunter2@proxy.test"]
        {
            let proxy: ProxyUrl = text.parse().unwrap();
            let shown =
                format!("{proxy} {proxy:?} {:?} {}", Proxy::Through(proxy.clone()), Proxy::Through(proxy.clone()));
            assert!(shown.contains("proxy.test") && !shown.contains("joe") && !shown.contains("hunter2"), "{shown}");
        }
        assert_eq!("proxy.test:3128".parse::<ProxyUrl>().unwrap().to_string(), "http://proxy.test:3128");
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_quoted() {
        for (text, error) in [
            ("socks5://joe:hunter2@p", BadProxy::Scheme),
            ("http://joe:hunter2@", BadProxy::Url),
            ("", BadProxy::Url),
            ("http://p/path", BadProxy::Path),
            ("http://p?q", BadProxy::Path),
        ] {
            assert_eq!(text.parse::<ProxyUrl>(), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
