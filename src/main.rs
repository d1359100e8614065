//! The `dlite` binary: arguments → configuration → telemetry → build → run → exit code.

use std::process::ExitCode;

use dlite::{cli::Cli, upstreams::tls};

fn main() -> ExitCode {
    tls::install_crypto_provider();
    Cli::of_process().run()
}
