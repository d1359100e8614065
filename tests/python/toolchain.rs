//! Whether the Python runner can run here; shared by the targets that drive it.

use std::process::{Command, Stdio};

/// True: Python with grpcio is here. Without it a test has nothing to show, and says so; where the environment promises it
/// (`DLITE_REQUIRE_TOOLCHAINS=1`) its absence fails the test.
pub fn python_has_grpcio() -> bool {
    let probe = Command::new("python3").args(["-c", "import grpc, grpc_tools"]).stderr(Stdio::null()).status();
    let present = probe.is_ok_and(|status| status.success());
    let required = std::env::var("DLITE_REQUIRE_TOOLCHAINS").is_ok_and(|value| value == "1");
    assert!(present || !required, "python3 with tests/python/requirements.txt is required and not here");
    if !present {
        println!("skipped: python3 with tests/python/requirements.txt is not here");
    }
    present
}
