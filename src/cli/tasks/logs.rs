//! `dlite tasks logs`: what a task wrote, as far as it is on this machine.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{
    cli::{config::ConfigArgs, status::ask_for},
    proto::admin::v1::{LogEntry, ReadLogRequest},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    task: String,
    /// Wait for what is still to come, until the log is closed
    #[arg(short, long)]
    follow: bool,
    /// Which step's log [default: the task's own, or the only one]
    #[arg(long, default_value = "", hide_default_value = true)]
    step: String,
    /// Begin with the line of this number, from 0
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    /// Say when each line was written
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    ask_for(&args.config, async |mut client| {
        let request = ReadLogRequest {
            task_id: args.task.clone(),
            step_id: args.step.clone(),
            first_line: args.from,
            follow: args.follow,
        };
        let mut answers = client.read_log(request).await?.into_inner();
        let mut out = io::BufWriter::new(io::stdout().lock());
        while let Some(answer) = answers.message().await? {
            let printed = answer.entries.iter().try_for_each(|entry| print(&mut out, entry, args.timestamps));
            // Whoever reads may have seen enough, as `head` has.
            if printed.and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(out: &mut impl io::Write, entry: &LogEntry, timestamps: bool) -> io::Result<()> {
    if let Some(time) = entry.time.as_ref().filter(|_| timestamps) {
        write!(out, "{time} ")?;
    }
    out.write_all(&entry.text)?;
    out.write_all(b"\n")
}
