#![doc = include_str!("../README.md")]

pub mod admin;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod doctor;
pub mod doubles;
pub mod driver;
pub mod exec;
pub mod health;
pub mod inbox;
pub mod journal;
mod kit;
pub mod logs;
pub mod page;
pub mod pipeline;
pub mod pressure;
pub mod proto;
pub mod reason;
pub mod runners;
pub mod sdk;
pub mod settings;
pub mod shutdown;
pub mod state_dir;
pub mod telemetry;
pub mod upstreams;
