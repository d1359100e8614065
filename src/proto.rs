//! Generated contracts: what travels between delegate, runners and operators. See `proto/` for every field's bounds.

use std::fmt;

/// The runner protocol.
pub mod runner {
    #[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("dlite.runner.v1");
    }
}

/// Typed additions of upstream adapters.
pub mod upstream {
    /// Those of the Drone adapter.
    pub mod drone {
        #[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
        pub mod v1 {
            tonic::include_proto!("dlite.upstream.drone.v1");
        }
    }

    /// Those of the Harness adapter.
    pub mod harness {
        #[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
        pub mod v1 {
            tonic::include_proto!("dlite.upstream.harness.v1");
        }
    }
}

/// The operator's service.
pub mod admin {
    #[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("dlite.admin.v1");
    }
}

/// All contracts as a serialized `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

// === Debug of what must not be printed: sizes and names, never content ===

impl fmt::Debug for runner::v1::Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.content_type, self.inline.len())
    }
}

/// Its extensions may hold secrets, and are of types that nobody knows here.
impl fmt::Debug for runner::v1::Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extensions: Vec<&str> = self.extensions.iter().map(|extension| extension.type_url.as_str()).collect();
        f.debug_struct("Task")
            .field("task_id", &self.task_id)
            .field("task_type", &self.task_type)
            .field("kind", &self.kind())
            .field("attempt", &self.attempt)
            .field("payload", &self.payload)
            .field("labels", &self.labels)
            .field("secrets", &self.secrets)
            .field("origin", &self.origin)
            .field("extensions", &extensions)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for upstream::harness::v1::TestIntelligence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestIntelligence({}, {} config bytes)", self.url, self.config_json.len())
    }
}

impl fmt::Debug for runner::v1::Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

impl fmt::Debug for runner::v1::ExportedVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportedVariable({})", self.name)
    }
}

impl fmt::Debug for runner::v1::Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", self.name)
    }
}

impl fmt::Debug for runner::v1::LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogLine({} bytes, {} args)", self.text.len(), self.args.len())
    }
}

impl fmt::Debug for runner::v1::Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({}, {} bytes)", self.schema_uri, self.data.len())
    }
}

impl fmt::Debug for runner::v1::Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({}, {} details bytes)", self.phase, self.details.len())
    }
}
