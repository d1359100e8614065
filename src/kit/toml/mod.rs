//! The TOML file of a built-in runner: one text in, meant values or every complaint at once out.

mod section;
pub(crate) mod value;

pub(crate) use self::{
    section::{Page, Section},
    value::Refusal,
};
