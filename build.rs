//! Compiles `proto/` with a compiler written in Rust, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

/// Messages that hold payloads or secrets; their `Debug` is written by hand in `src/proto.rs` and shows sizes only.
const UNPRINTABLE: [&str; 9] = [
    "dlite.runner.v1.Task",
    "dlite.runner.v1.Payload",
    "dlite.runner.v1.Secret",
    "dlite.runner.v1.Output",
    "dlite.runner.v1.ExportedVariable",
    "dlite.runner.v1.Progress",
    "dlite.runner.v1.LogLine",
    "dlite.runner.v1.Card",
    "dlite.upstream.harness.v1.TestIntelligence",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "dlite/runner/v1/runner_service.proto",
            "dlite/runner/v1/logs.proto",
            "dlite/upstream/harness/v1/harness.proto",
            "dlite/upstream/drone/v1/drone.proto",
            "dlite/admin/v1/admin_service.proto",
        ],
        ["proto"],
    )?;

    // The runner service's reflection answers with these bytes.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(&descriptors, prost::Message::encode_to_vec(&files))?;

    let mut config = prost_build::Config::new();
    // Maps in order: the same task gives the same bytes.
    config.btree_map(["."]);
    // Payloads are slices of the frame they came in.
    config.bytes(["."]);
    config.skip_debug(UNPRINTABLE);
    // Extensions are known by their full names.
    config.enable_type_names();
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds_with_config(files, config)?;
    Ok(())
}
