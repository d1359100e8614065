//! Typed additions to tasks and results, between a handler and an upstream's adapter. What stands between passes on their bytes.
//!
//! Each type is known by its full message name, such as `dlite.upstream.harness.v1.TestIntelligence`; a handler that does not ask
//! for it by [`Handler::extension`](super::Handler::extension) never gets it.

use prost::{Message, Name};
use prost_types::Any;

/// Where types are named in an `Any`.
const TYPE_URL: &str = "type.googleapis.com/";

/// Any protobuf message that knows its name, as every generated one of `dlite::proto` does.
pub trait Extension: Message + Name + Default {}

impl<M: Message + Name + Default> Extension for M {}

pub(super) fn to_any<E: Extension>(extension: &E) -> Any {
    Any { type_url: format!("{TYPE_URL}{}", E::full_name()), value: extension.encode_to_vec() }
}

/// The one of type `E`; an undecodable one is absent.
pub(super) fn find<E: Extension>(extensions: &[Any]) -> Option<E> {
    let name = E::full_name();
    let is_named = |extension: &&Any| extension.type_url.rsplit('/').next() == Some(name.as_str());
    E::decode(&extensions.iter().find(is_named)?.value[..]).ok()
}
