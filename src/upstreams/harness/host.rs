//! The name and address under which the delegate's host is registered.
//!
//! A manager derives the delegate's id from account, host name and address, so both are made once, at the first registration of a
//! state directory, and given back ever after by whoever keeps them. This module keeps nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::Url;
use tokio::net::{UdpSocket, lookup_host};

use super::options::{Family, Options};
use crate::core::record::Host;

/// Longest host name sent, in bytes; the rest is cut. DNS names have at most 253.
pub const HOST_NAME_BYTES_MAX: usize = 253;
/// Sent where the local address can't be told, as behind a proxy that alone can resolve the endpoint. Fixed, since an address that
/// changed would be another identity; the host name is what tells delegates apart.
pub const IP_FALLBACK: &str = "127.0.0.1";

/// Names this host towards `endpoint`, within `timeout`.
pub(super) async fn host(options: &Options, endpoint: &Url, timeout: Duration) -> Host {
    let name = match &options.host_name {
        Some(name) => tidy(name),
        None => {
            let system = rustix::system::uname();
            let prefix = match options.family {
                Family::Legacy => "dlite",
                Family::Runner => "runner",
            };
            host_name(prefix, &system.nodename().to_string_lossy(), &options.delegate_name)
        }
    };
    // Resolving a name can take as long as the resolver likes.
    let ip = tokio::time::timeout(timeout, local_address(endpoint)).await.ok().flatten();
    Host { name: name.into(), ip: ip.map_or_else(|| IP_FALLBACK.into(), |ip| ip.to_string().into()) }
}

/// Unique per host and delegate name, so that two delegates of one host are two.
fn host_name(prefix: &str, system: &str, delegate_name: &str) -> String {
    tidy(&format!("{prefix}-{}-{}", if system.is_empty() { "host" } else { system }, delegate_name))
}

/// The manager's own delegates write a blank as `-`, too.
fn tidy(name: &str) -> String {
    let mut name: String =
        name.trim().chars().map(|c| if c.is_whitespace() || c.is_control() { '-' } else { c }).collect();
    name.truncate(name.floor_char_boundary(HOST_NAME_BYTES_MAX));
    name
}

/// The address that connections to the endpoint leave from. Nothing is sent: connecting a UDP socket only picks a route.
async fn local_address(endpoint: &Url) -> Option<IpAddr> {
    let host = endpoint.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let remotes = lookup_host((host, endpoint.port_or_known_default()?)).await.ok()?;
    for remote in remotes {
        if let Some(ip) = route(remote).await {
            return Some(ip);
        }
    }
    None
}

async fn route(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(remote).await.ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_delegates_of_one_host_have_two_names() {
        assert_eq!(host_name("dlite", "mac-07", "pool a"), "dlite-mac-07-pool-a");
        assert_ne!(host_name("runner", "mac-07", "pool-a"), host_name("runner", "mac-07", "pool-b"));
        assert_eq!(host_name("runner", "", "pool"), "runner-host-pool");
    }

    #[test]
    fn a_name_is_one_bounded_word() {
        assert_eq!(tidy(" my\thost\n1 "), "my-host-1");
        assert_eq!(tidy(&"é".repeat(200)).len(), HOST_NAME_BYTES_MAX - 1);
    }

    #[tokio::test]
    async fn the_address_is_the_one_that_routes_to_the_endpoint() {
        let endpoint = Url::parse("http://127.0.0.1:9").unwrap();
        assert_eq!(local_address(&endpoint).await, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[tokio::test]
    async fn an_endpoint_without_a_route_falls_back() {
        let secret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0".parse().unwrap();
        let options = Options { host_name: Some("h 1".into()), ..Options::new("http://x", "a", secret, "n") };
        // No socket may talk to everybody unless it asked to.
        let endpoint = Url::parse("http://255.255.255.255").unwrap();
        let host = host(&options, &endpoint, Duration::from_secs(5)).await;
        assert_eq!((&*host.name, &*host.ip), ("h-1", IP_FALLBACK));
    }
}
