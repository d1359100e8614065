//! The name under which this delegate takes stages.
//!
//! It is made once, at the first registration of a state directory, and given back ever after by whoever keeps it: a stage whose
//! machine it is was accepted by this state directory and by nobody else. This module keeps nothing.

use std::sync::Arc;

use crate::core::record::Host;

/// Longest name as configured, in bytes; the rest is cut. DNS names have at most 253.
const NAME_BYTES_MAX: usize = 253;

/// A name that no other state directory has.
pub(super) fn machine(configured: Option<&str>) -> Host {
    let system;
    let base = match configured {
        Some(name) => name,
        None => {
            system = rustix::system::uname();
            &*system.nodename().to_string_lossy()
        }
    };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut name: String =
        base.trim().chars().map(|c| if c.is_whitespace() || c.is_control() { '-' } else { c }).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    let name: Arc<str> = format!("{}-{}", if name.is_empty() { "host" } else { &name }, &id[..8]).into();
    // The server never hears an address.
    Host { name, ip: "".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_state_directories_of_one_host_have_two_names() {
        let (one, two) = (machine(Some("mac 07")), machine(Some("mac 07")));
        assert!(one.name.starts_with("mac-07-") && one.name != two.name);
        assert!(machine(None).name.len() > 9);
    }
}
