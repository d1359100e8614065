//! Traces as a collector gets them: real OTLP receivers, the real binary, killed where it hurts; and what an exporter that hangs costs.

#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
mod receiver;
mod scene;

mod dev;
mod hangs;
mod joins;
mod kills;
mod logs;
mod samples;
mod stages;
