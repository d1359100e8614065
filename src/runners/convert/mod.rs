//! The runner protocol and the core's words, translated in one place, bounds checked on the way in.

mod bounds;
mod ends;
mod inbound;
mod outbound;

pub use self::{
    bounds::Broken,
    ends::{ending, stream_end, undecodable},
    inbound::{Inbound, frame, hello},
    outbound::{assignment, cancellation, drain, heartbeat_ack, rejection, session, welcome},
};

/// Domain of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "dlite";
/// Largest frame either side may send, in bytes: the default gRPC message size, which every client library takes.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Largest inline payload, in bytes; leaves room for the rest of the frame.
pub const PAYLOAD_BYTES_MAX: usize = 3_584 << 10;
