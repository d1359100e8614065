//! The core's rules: input in, exact effects out, no mocks.

mod attach;
mod denials;
mod desk;
mod hand_back;
mod intake;
mod leases;
mod reports;
mod restart;
mod support;
mod unsupported;
mod wanted;
