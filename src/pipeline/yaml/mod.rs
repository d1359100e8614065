//! The configuration's text as a model.

mod model;

pub use self::model::{
    Checkout, DEFAULT_NAME, Failure, Manifest, NoSuchPipeline, Pipeline, Place, Platform, SecretDocument, SecretSource,
    Signature, Step, Value, Workspace,
};
