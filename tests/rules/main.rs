//! The core's rules: input in, exact effects out, no mocks.

mod admission;
mod aside;
mod attach;
mod cancel;
mod denials;
mod desk;
mod drain;
mod drained_stages;
mod hand_back;
mod host;
mod intake;
mod leases;
mod letters;
mod logs;
mod reports;
mod restart;
mod sessions;
mod slots;
mod stages;
mod steps;
mod support;
mod unsupported;
mod wanted;
