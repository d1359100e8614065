//! A whole runner: `cargo run --example echo_runner -- unix:/run/dlite/runner.sock`

use std::{error::Error, time::Duration};

use dlite::sdk::{Context, Failure, Handler, Output, Payload, Runner};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let target = std::env::args().nth(1).unwrap_or_else(|| "unix:/run/dlite/runner.sock".to_owned());
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };

    Runner::new("echo-1")
        .handler(Handler::new("ECHO", echo).idempotent())
        .handler(Handler::new("COUNTDOWN", countdown).timeout(Duration::from_secs(60)))
        .slots("default", 4)
        .connect(target)
        .run(stop)
        .await?;
    Ok(())
}

async fn echo(_: Context, payload: Payload) -> Result<Payload, Failure> {
    Ok(payload)
}

async fn countdown(task: Context, payload: Payload) -> Result<(), Failure> {
    let seconds: u32 = payload.parse()?;
    for left in (1..=seconds).rev() {
        task.progress(format!("{left} s to go"), 1.0 - left as f32 / seconds as f32);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = task.cancelled() => return Err(Failure::cancelled()),
        }
    }
    Ok(task.output(Output::text("landed", "softly")).await?)
}
