//! Lines on their way to the disk: masked, framed, digested and synced, beside a plain copy of the same bytes. Each measure has one core
//! for all of its threads.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::tempdir::TempDir;
use crate::{
    cli::chain,
    logs::{
        intake::Intake,
        mask::Patterns,
        spool::{Limits, LineHead, LogKey, Meta, Spool},
    },
};

/// Texts of one measure.
const BYTES: usize = 128 << 20;
/// Of them so many are made; the rest repeats them.
const PIECE_BYTES: usize = 8 << 20;
/// Lines handed over at once, as a runner's chunk has them.
const CHUNK_LINES: usize = 4_096;
/// Bytes of a secret.
const SECRET_BYTES: usize = 40;
/// Nobody who measures has lines left out for a disk that is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Words of a build's output.
const WORDS: [&str; 16] = [
    "Compiling",
    "warning:",
    "src/main.rs:17:5",
    "error",
    "linking",
    "downloaded",
    "https://registry.example.test/v1/",
    "sha256:9f86d081884c7d65",
    "in",
    "ok",
    "test",
    "step",
    "finished",
    "Bearer",
    "commit",
    "0.8.15",
];

/// Runs a measure on one core, with all threads that it starts: they inherit the core of the one that starts them.
pub fn on_one_core(measure: impl FnOnce() -> Result<f64, String> + Send) -> Result<f64, String> {
    let pinned = || {
        let mut core = CpuSet::new();
        core.set(sched_getcpu());
        sched_setaffinity(None, &core).map_err(|error| format!("no thread can be bound to one core: {error}"))?;
        measure()
    };
    let measured = std::thread::scope(|scope| scope.spawn(pinned).join());
    measured.unwrap_or_else(|_| Err("the measure panicked".to_owned()))
}

/// MB a second of lines that are masked for so many secrets and made durable.
pub fn spooled(directory: &Path, secrets: usize) -> Result<f64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(spool(directory, secrets))
}

async fn spool(directory: &Path, secrets: usize) -> Result<f64, String> {
    let place = TempDir::below(directory).map_err(|error| format!("no directory for logs: {error}"))?;
    let limits = Limits { back_pressure_max: PATIENCE, ..Limits::default() };
    let (spool, _) = Spool::open(place.path().join("logs"), limits).map_err(|error| chain(&error))?;
    let mut random = Random(1);
    let secrets: Vec<Vec<u8>> = (0..secrets).map(|_| random.secret()).collect();
    let (patterns, _) = Patterns::new(secrets.iter().map(Vec::as_slice)).map_err(|error| error.to_string())?;
    let key = LogKey { lease_id: "bench".to_owned(), log_id: "bench".to_owned() };
    let meta = Meta { key, task_id: String::new(), step_id: String::new(), destination: Vec::new() };
    let appender = spool.open_log(meta).map_err(|error| chain(&error))?;
    let log = appender.log();
    let mut intake = Intake::new(Some(Arc::new(patterns)), appender);
    let lines = lines();
    let started = Instant::now();
    let (mut number, mut bytes) = (0, 0);
    while bytes < BYTES {
        for chunk in lines.chunks(CHUNK_LINES) {
            intake.lines(number, chunk.iter().map(|text| (LineHead::default(), text.clone()))).await;
            number += chunk.len() as u64;
            bytes += chunk.iter().map(Bytes::len).sum::<usize>();
        }
    }
    let receipt = intake.close(None, false).await;
    let durable = log.watch().wait_for(|progress| progress.receipt.is_some() || progress.is_broken).await.is_ok();
    let took = started.elapsed();
    match durable && receipt.missing_lines() == 0 && receipt.lines == number {
        true => Ok(rate(bytes, took)),
        false => Err(format!("{} of {number} lines were kept", receipt.lines)),
    }
}

/// MB a second of the same bytes, written and synced at the end.
pub fn copied(directory: &Path) -> Result<f64, String> {
    let failed = |error: std::io::Error| format!("a plain copy can't be measured: {error}");
    let place = TempDir::below(directory).map_err(failed)?;
    let piece = lines().concat();
    let mut file = File::create(place.path().join("copy")).map_err(failed)?;
    let started = Instant::now();
    let mut bytes = 0;
    while bytes < BYTES {
        file.write_all(&piece).map_err(failed)?;
        bytes += piece.len();
    }
    file.sync_data().map_err(failed)?;
    Ok(rate(bytes, started.elapsed()))
}

fn rate(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn lines() -> Vec<Bytes> {
    let mut random = Random(2);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE_BYTES {
        let mut line = String::new();
        while line.len() < 60 + random.below(80) {
            line.push_str(WORDS[random.below(WORDS.len())]);
            line.push_str(&format!(" {:x} ", random.next() >> 40));
        }
        bytes += line.len();
        lines.push(Bytes::from(line));
    }
    lines
}

/// SplitMix64: the same lines each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    fn secret(&mut self) -> Vec<u8> {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..SECRET_BYTES).map(|_| LETTERS[self.below(LETTERS.len())]).collect()
    }
}
