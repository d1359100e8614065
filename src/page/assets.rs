//! Style, script and icon, compiled in. Their paths carry a mark of their content, so browsers keep them until they change.

use axum::{
    extract::Path,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use super::trouble::Trouble;

pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

pub(super) const STYLE: &Asset =
    &Asset { name: "page.css", kind: "text/css; charset=utf-8", content: include_str!("assets/page.css") };
pub(super) const SCRIPT: &Asset =
    &Asset { name: "page.js", kind: "text/javascript; charset=utf-8", content: include_str!("assets/page.js") };
pub(super) const ICON: &Asset =
    &Asset { name: "icon.svg", kind: "image/svg+xml", content: include_str!("assets/icon.svg") };

/// Where it is, with its mark.
pub(super) fn path(asset: &Asset) -> String {
    format!("/ui/assets/{}?{:x}", asset.name, mark(asset.content.as_bytes()))
}

pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Trouble> {
    let asset = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.name == name).ok_or_else(Trouble::no_such_page)?;
    let headers = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}

/// FNV-1a: tells contents apart, which is all that is asked of it.
const fn mark(content: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < content.len() {
        hash = (hash ^ content[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
