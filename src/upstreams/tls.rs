//! The process's one crypto provider.

use std::sync::Once;

/// Makes ring the crypto provider of every TLS client and server in this process.
///
/// reqwest is built without a provider of its own and panics when it finds none, so whoever builds a client calls this
/// first: `main`, the SDK, tests. Further calls do nothing; a provider that someone else installed earlier stays.
pub fn install_crypto_provider() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // An error here means that another provider is in place, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
