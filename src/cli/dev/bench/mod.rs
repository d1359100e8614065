//! `dlite dev bench`: what the delegate does on this machine, beside what this machine could do, taken in the same run.
//!
//! Floors and figures alternate, since a shared machine is not the same from one minute to the next.

use std::{collections::BTreeMap, path::Path, process::ExitCode, sync::Arc, time::Duration};

use crate::{
    cli::{block_on, chain, fail},
    config::Config,
    core::id::UpstreamName,
    daemon, telemetry,
    upstreams::Upstream,
};

mod floors;
mod idle;
mod lives;
mod logs;
mod spread;
mod stub;

use self::{
    floors::{Recorder, Recording},
    stub::Stub,
};

/// Tasks that are open at once in the throughput figures.
const OUTSTANDING: u32 = 64;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whole task lives of each throughput figure
    #[arg(long, default_value_t = 20_000)]
    tasks: u32,
    /// Directory for the state, on the disk to measure [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<std::path::PathBuf>,
    /// Exit with 1 if a bound does not hold
    #[arg(long)]
    check: bool,
}

/// One measured figure and the bound it is held to.
struct Figure {
    name: &'static str,
    measured: String,
    bound: String,
    holds: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let log = crate::config::Log { format: crate::config::LogFormat::Text, filter: "error".to_owned() };
    if let Err(error) = telemetry::start(&log) {
        return fail(&error.to_string());
    }
    if cfg!(debug_assertions) {
        eprintln!("dlite: this is a debug build; the figures that count come from `cargo run --release -- dev bench`");
    }
    block_on(async {
        match measure(args).await {
            Ok(figures) => report(&figures, args.check),
            Err(error) => fail(&error),
        }
    })
}

async fn measure(args: &Args) -> Result<Vec<Figure>, String> {
    let directory = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    if !directory.is_dir() {
        return Err(format!("--directory {} is no directory", directory.display()));
    }
    let mut figures = Vec::new();
    progress("raw fdatasync");
    let fdatasync =
        |pause| floors::fdatasync(&directory, pause).map_err(|error| format!("fdatasync can't be measured: {error}"));
    let sync = fdatasync(Duration::ZERO)?;
    println!("floor: fdatasync of 4 KiB, one after the other   p50 {:?}, p99 {:?}", sync.p50(), sync.p99());

    progress("task lives, upstream stubbed in process");
    let lives = lives::stubbed(&directory, args.tasks, OUTSTANDING).await?;
    progress("a bare SQLite loop with the same rows in the same batches");
    let bare = floors::sqlite(&directory, &lives.recording).map_err(|error| error.to_string())?;
    let bare_rate = f64::from(args.tasks) / bare.as_secs_f64();
    println!("floor: bare SQLite, same rows, same batches      {bare_rate:.0} lives/s");
    println!("       commits {}, changes {}", lives.recording.batches.len(), lives.recording.changes());
    figures.push(Figure {
        name: "task lives, 64 outstanding, durable",
        measured: format!("{:.0}/s ({:.0} % of the floor)", lives.rate, lives.rate / bare_rate * 100.0),
        bound: "40 % of bare SQLite".to_owned(),
        holds: lives.rate >= 0.4 * bare_rate,
    });

    progress("acknowledgements under the same load");
    let acks = lives::acknowledgements(&directory, args.tasks, OUTSTANDING).await?;
    figures.push(at_most("result received → acknowledged, same load, p99", acks.p99(), Duration::from_millis(10)));

    progress("latency, one task at a time");
    // Tasks come with the polls, so the disk rests as long between them; taken before and after, since disks change their minds.
    let before = fdatasync(stub::POLL_INTERVAL)?;
    let single = lives::one_at_a_time(&directory, 500).await?;
    let after = fdatasync(stub::POLL_INTERVAL)?;
    let floor = (before.p50() + after.p50()) / 2;
    println!("floor: fdatasync of 4 KiB, one a poll interval   p50 {floor:?}");
    let bound = floor * 3 + Duration::from_micros(200);
    figures.push(at_most("acquired → handler started, one at a time, p50", single.p50(), bound));

    progress("latency at 1,000 tasks/s");
    let paced = lives::paced(&directory, 5_000, Duration::from_millis(1)).await?;
    figures.push(at_most("acquired → handler started, 1,000/s, p99", paced.p99(), Duration::from_millis(15)));

    progress("task lives through the manager's double, real HTTP");
    let http = lives::through_double(args.tasks, OUTSTANDING).await?;
    figures.push(Figure {
        name: "task lives through the double's HTTP",
        measured: format!("{http:.0}/s"),
        bound: "1,500/s".to_owned(),
        holds: http >= 1_500.0,
    });

    progress("log lines: masked, framed, digested, synced");
    for (name, secrets) in [("log lines, no secret", 0), ("log lines, 10 secrets", 10), ("log lines, 100 secrets", 100)]
    {
        let plain = logs::on_one_core(|| logs::copied(&directory))?;
        let rate = logs::on_one_core(|| logs::spooled(&directory, secrets))?;
        figures.push(Figure {
            name,
            measured: format!("{rate:.0} MB/s on one core (plain copy with fsync: {plain:.0})"),
            bound: "200 MB/s, or 70 % of the copy".to_owned(),
            holds: rate >= 200.0 || rate >= 0.7 * plain,
        });
    }

    progress("start with 10,000 open tasks, then idle");
    let idle = idle::measure().await?;
    figures.push(at_most("ready with 10,000 open tasks", idle.ready, Duration::from_millis(300)));
    figures.push(Figure {
        name: "idle resident memory",
        measured: format!("{:.1} MiB", idle.resident_mib),
        bound: "20 MiB".to_owned(),
        holds: idle.resident_mib <= 20.0,
    });
    figures.push(Figure {
        name: "idle CPU",
        measured: format!("{:.2} % of a core", idle.cpu_percent),
        bound: "0.5 %".to_owned(),
        holds: idle.cpu_percent < 0.5,
    });
    Ok(figures)
}

fn at_most(name: &'static str, measured: Duration, bound: Duration) -> Figure {
    Figure { name, measured: format!("{measured:?}"), bound: format!("{bound:?}"), holds: measured <= bound }
}

fn report(figures: &[Figure], check: bool) -> ExitCode {
    println!();
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            let verdict = if figure.holds { "holds" } else { "MISSED" };
            vec![figure.name.to_owned(), figure.measured.clone(), figure.bound.clone(), verdict.to_owned()]
        })
        .collect();
    print!("{}", crate::cli::table::render(&["FIGURE", "MEASURED", "BOUND", ""], &rows));
    let missed = figures.iter().filter(|figure| !figure.holds).count();
    if check && missed > 0 { fail(&format!("{missed} bounds do not hold")) } else { ExitCode::SUCCESS }
}

fn progress(what: &str) {
    eprintln!("measuring: {what} …");
}

/// A delegate on the stub, in this process, with its state below `directory`.
async fn delegate_on(
    stub: Arc<Stub>,
    directory: &Path,
    slots: u32,
) -> Result<(daemon::Daemon, Config, Recording, tempdir::TempDir), String> {
    let place = tempdir::TempDir::below(directory).map_err(|error| format!("no directory for the state: {error}"))?;
    let config = stub::config(place.path(), slots)?;
    let mut upstreams: BTreeMap<UpstreamName, Arc<dyn Upstream>> = BTreeMap::new();
    upstreams.insert("stub".into(), stub);
    let recording = Recording::default();
    let tape = recording.clone();
    let daemon = daemon::start_on(&config, upstreams, Box::new(|_, _| {}), move |store| Recorder::new(store, tape))
        .await
        .map_err(|error| chain(&error))?;
    Ok((daemon, config, recording, place))
}

/// A directory that goes with its owner.
mod tempdir {
    use std::{
        io,
        path::{Path, PathBuf},
    };

    pub struct TempDir(PathBuf);

    impl TempDir {
        pub fn below(parent: &Path) -> io::Result<Self> {
            let path = parent.join(format!("dlite-bench-{}", uuid::Uuid::new_v4().simple()));
            std::fs::create_dir_all(&path)?;
            Ok(Self(path))
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
