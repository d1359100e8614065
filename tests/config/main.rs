//! Configuration: what each layer sets, what is refused and how it is told, and that no secret is ever shown.

mod commands;
mod complaints;
mod drone;
mod layers;
mod networks;
mod packaging;
mod secrets;
mod support;
