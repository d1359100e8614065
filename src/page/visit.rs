//! Who asks for a page, and what a form of the page says.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{Uri, header::REFERER, request::Parts},
};

use super::{Page, keyring::Key, trouble::Trouble};

/// One look at a page.
pub(super) struct Visit {
    /// Absent: it may look only.
    pub key: Option<Key>,
    /// The page's own path and query.
    pub path: String,
    /// The query's first value of each name.
    query: BTreeMap<String, String>,
}

/// An order: a form of this page from a browser that has a key.
pub(super) struct Order(BTreeMap<String, String>);

/// Where to sign in, to come back to `uri` afterwards.
pub(super) fn sign_in_path(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/ui/", |path| path.as_str());
    format!("/ui/sign-in?{}", form_urlencoded::Serializer::new(String::new()).append_pair("next", path).finish())
}

/// A path of this page, or the overview's: nobody is led elsewhere.
pub(super) fn inner_path(path: &str) -> &str {
    let is_inner = path.starts_with("/ui/") && path.chars().all(|letter| letter.is_ascii_graphic() && letter != '\\');
    if is_inner { path } else { "/ui/" }
}

// === impl Visit ===

impl Visit {
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The number that the query gives, or 0.
    pub fn number(&self, name: &str) -> u64 {
        self.query(name).parse().unwrap_or(0)
    }

    pub fn sign_in_path(&self) -> String {
        self.path.parse().map_or_else(|_| "/ui/sign-in".to_owned(), |uri| sign_in_path(&uri))
    }

    /// The same page with another value of a part of the query.
    pub fn with(&self, name: &str, value: &str) -> String {
        let others = self.query.iter().filter(|(other, value)| *other != name && !value.is_empty());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(others);
        if !value.is_empty() {
            query.append_pair(name, value);
        }
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{path}?{}", query.finish())
    }

    /// Turns away who has no key.
    pub fn needs_key(&self) -> Result<(), Trouble> {
        if self.key.is_none() { Err(Trouble::SignIn(self.sign_in_path())) } else { Ok(()) }
    }
}

impl FromRequestParts<Page> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Infallible> {
        let path = parts.uri.path_and_query().map_or("/ui/", |path| path.as_str()).to_owned();
        let query = pairs(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(Self { key: page.keyring().find(&parts.headers), path, query })
    }
}

// === impl Order ===

impl Order {
    pub fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// A span such as `90s`; none: the field is empty.
    ///
    /// # Errors
    /// If it is no span.
    pub fn span(&self, name: &str) -> Result<Option<prost_types::Duration>, Trouble> {
        let text = self.field(name);
        if text.is_empty() {
            return Ok(None);
        }
        let span = crate::config::parse_duration(text).and_then(|span| span.try_into().ok());
        let bad = || Trouble::bad_field(format!("{name}: write a number with its unit, such as 90s, 15m or 2h."));
        span.map(Some).ok_or_else(bad)
    }
}

impl FromRequest<Page> for Order {
    type Rejection = Trouble;

    async fn from_request(request: Request, page: &Page) -> Result<Self, Trouble> {
        let Some(key) = page.keyring().find(request.headers()) else {
            // Back to the page that the form was on, by way of a key.
            let from = request.headers().get(REFERER).and_then(|from| from.to_str().ok()).unwrap_or_default();
            let path = from.parse::<Uri>().ok().and_then(|uri| Some(uri.path_and_query()?.to_string()));
            let uri = inner_path(path.as_deref().unwrap_or_default()).parse().unwrap_or_default();
            return Err(Trouble::SignIn(sign_in_path(&uri)));
        };
        let form = form(request, page).await?;
        if !form.get("seal").is_some_and(|seal| key.has_sealed(seal)) {
            return Err(Trouble::foreign_form());
        }
        Ok(Self(form))
    }
}

/// The first value of each name in the body.
pub(super) async fn form(request: Request, page: &Page) -> Result<BTreeMap<String, String>, Trouble> {
    let too_large = |_| Trouble::bad_field("The form is too large.".to_owned());
    Ok(pairs(&Bytes::from_request(request, page).await.map_err(too_large)?))
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text) {
        pairs.entry(name.into_owned()).or_insert_with(|| value.into_owned());
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        assert_eq!(inner_path("/ui/tasks?q=a"), "/ui/tasks?q=a");
        for path in ["", "/", "//evil.example/ui/", "http://evil.example/ui/", "/ui/\\evil", "/ui/ a", "/ui/\r\nx: y"] {
            assert_eq!(inner_path(path), "/ui/", "{path}");
        }
    }
}
