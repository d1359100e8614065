//! The core's rules: input in, exact effects out, no mocks.

mod attach;
mod desk;
mod intake;
mod leases;
mod reports;
mod restart;
