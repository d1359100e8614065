//! The configuration's text as a model, within bounds of size, depth and number.

mod load;
mod mistake;
mod model;
mod node;
mod read;
mod section;
mod steps;
mod when;

pub(crate) use self::mistake::shown;
pub use self::{
    load::{DEPTH_MAX, DOCUMENTS_MAX, NODES_MAX, TEXT_BYTES_MAX, WRITTEN_OUT_BYTES_MAX},
    mistake::{MISTAKES_LISTED_MAX, Mistake, Mistakes},
    model::{
        Checkout, DEFAULT_NAME, Failure, Manifest, NoSuchPipeline, Pipeline, Place, Platform, SecretDocument,
        SecretSource, Signature, Step, Value, Workspace,
    },
    read::{NAME_BYTES_MAX, NAME_CHARS_MAX},
    when::GLOB_BYTES_MAX,
};

/// Reads all documents of a configuration whose variables are expanded.
///
/// # Errors
/// [`Mistakes`]: every one in documents that are pipelines of type exec, secrets or signatures; or the first place that is no YAML.
pub fn parse(text: &str) -> Result<Manifest, Mistakes> {
    read::read(&load::load(text)?)
}
