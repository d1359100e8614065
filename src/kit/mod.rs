//! What the built-in runners share, so that each of them is about its own tasks only.
//!
//! | part | owns |
//! |---|---|
//! | `keeper` | programs that run: started, watched, ended with all they started |
//! | `toml` | a runner's own configuration file, read with every complaint at its place |
//! | `lines`, `mask` | output as lines, and the secrets in it |
//!
//! It knows neither task types nor what a program's end means.

pub(crate) mod keeper;
pub(crate) mod lines;
pub(crate) mod mask;
pub(crate) mod toml;

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
