//! What leads to an upstream and is found outside the configuration: the environment's proxies, the Go client's certificate.

use std::path::PathBuf;

use super::{
    options::Kind,
    proxy::{NoProxy, Proxy},
    rules::{CERT_FILE_BYTES_MAX, Rules, is_loopback, read},
    settings::Values,
    source::Source,
    value::{Raw, Value},
};

const ENDPOINT: &str = "upstreams[].endpoint";
const PROXY: &str = "upstreams[].proxy";
const NO_PROXY: &str = "upstreams[].no_proxy";
const CERT: &str = "upstreams[].tls.client_cert";
const KEY: &str = "upstreams[].tls.client_key";

/// What is found in a PEM file of certificates, and at the end of the label of each form of a private key.
pub(super) const PEM_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const PEM_KEY: &str = "PRIVATE KEY-----";

impl Rules<'_> {
    pub(super) fn network(&mut self, upstream: &mut Values) {
        self.proxy(upstream);
        self.no_proxy(upstream);
        self.client_cert(upstream);
    }

    /// The environment names a proxy for every program, so the configuration overrides it, unlike the variables that are ours.
    fn proxy(&mut self, upstream: &mut Values) {
        if upstream.entry(PROXY).source != Source::Default {
            return;
        }
        let endpoint = upstream.get::<String>(ENDPOINT).and_then(|endpoint| reqwest::Url::parse(&endpoint).ok());
        // A proxy can't reach this machine's own loopback; the Go client leaves it out, too.
        let Some(endpoint) = endpoint.filter(|endpoint| !is_loopback(endpoint)) else { return };
        let names =
            if endpoint.scheme() == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let Some((name, text)) = self.variable(names) else { return };
        let source = Source::Environment(name.to_owned());
        match Value::parse(Kind::Proxy, &Raw::Words(text)) {
            Ok(Value::Proxy(Proxy::None)) => {}
            Ok(proxy) => upstream.replace(PROXY, Some(proxy), source),
            Err(refusal) => {
                upstream.replace(PROXY, None, source);
                let fix = format!("{}; or write proxy = \"none\" into the configuration", refusal.fix);
                self.complain(upstream, PROXY, refusal.reason, &fix);
            }
        }
    }

    fn no_proxy(&mut self, upstream: &mut Values) {
        let rules: Option<Vec<String>> = match upstream.entry(NO_PROXY).source {
            Source::Default => {
                let Some((name, text)) = self.variable(["NO_PROXY", "no_proxy"]) else { return };
                // Other programs read it, too, and may know rules that we do not: those are left out.
                let rules =
                    text.split(',').map(str::trim).filter(|rule| NoProxy::parse([rule]).is_ok() && !rule.is_empty());
                let rules = rules.take(super::options::LIST_LEN_MAX).map(str::to_owned).collect();
                upstream.replace(NO_PROXY, Some(Value::Texts(rules)), Source::Environment(name.to_owned()));
                return;
            }
            _ => upstream.get(NO_PROXY),
        };
        if let Err(bad) = NoProxy::parse(rules.unwrap_or_default()) {
            let fix = "write for example \"example.com\", \".example.com\", \"192.0.2.1\", \"192.0.2.0/24\" or \"*\"";
            self.complain(upstream, NO_PROXY, bad.to_string(), fix);
        }
    }

    fn client_cert(&mut self, upstream: &mut Values) {
        let (cert, key): (Option<PathBuf>, Option<PathBuf>) = (upstream.get(CERT), upstream.get(KEY));
        let (has_cert, has_key) =
            (upstream.entry(CERT).source != Source::Default, upstream.entry(KEY).source != Source::Default);
        if !has_cert && !has_key {
            let (cert, key) = (self.defaults.host.mtls.join("client.crt"), self.defaults.host.mtls.join("client.key"));
            if !(cert.exists() && key.exists()) {
                return;
            }
            upstream.replace(CERT, Some(Value::Path(cert)), Source::Found);
            upstream.replace(KEY, Some(Value::Path(key)), Source::Found);
        } else if has_cert != has_key {
            let (set, other) = if has_cert { (CERT, "client_key") } else { (KEY, "client_cert") };
            return self.complain(upstream, set, format!("{other} is missing"), "set both or none of the two");
        } else if cert.is_none() || key.is_none() {
            // Complained about.
            return;
        }
        for (option, label, what) in [(CERT, PEM_CERTIFICATE, "certificate"), (KEY, PEM_KEY, "private key")] {
            let Some(path) = upstream.get::<PathBuf>(option) else { continue };
            match read(&path, CERT_FILE_BYTES_MAX) {
                Ok(text) if text.contains(label) => {}
                Ok(_) => {
                    let reason = format!("{} holds no PEM {what}", path.display());
                    self.complain(upstream, option, reason, &format!("name a PEM file of the {what}"));
                }
                Err(reason) => {
                    let fix = format!("name a PEM file of the {what}, readable by the delegate's user");
                    self.complain(upstream, option, format!("{} {reason}", path.display()), &fix);
                }
            }
        }
        if let Some(path) = upstream.get::<PathBuf>(KEY) {
            self.warn_if_readable(&path, upstream, KEY);
        }
    }

    /// The first of these variables that is set and not empty.
    fn variable<const N: usize>(&self, names: [&'static str; N]) -> Option<(&'static str, String)> {
        names.into_iter().find_map(|name| {
            let value = self.defaults.environment.get(name)?.trim();
            (!value.is_empty()).then(|| (name, value.to_owned()))
        })
    }
}
