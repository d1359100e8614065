//! The command line as a whole: every command says what happens, with an example and its exit codes.
//!
//! Commands with much to say carry it themselves; for the others it stands in one table here.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Path of a command, and what stands below its options.
const TEXTS: &[(&str, &str)] = &[
    (
        "run",
        "The configuration is checked whole; with a mistake in it nothing starts. SIGTERM drains and ends it, SIGHUP reads the \
         configuration anew.\n\nExit codes: 0 stopped with nothing left behind, 1 failed, 2 usage, 4 the configuration has mistakes, \
         5 something was cancelled or is left for the next start.\n\nExample:\n  dlite run --config /etc/dlite/dlite.toml",
    ),
    (
        "config check",
        "Needs no running delegate, and asks nobody on the network.\n\nExit codes: 0 no mistake, 2 usage, 4 mistakes, all of them \
         told.\n\nExample:\n  dlite config check --config dlite.toml",
    ),
    (
        "config show",
        "Secrets are masked. With --sources: default, file and line, environment or flag.\n\nExit codes: 0 ok, 2 usage, 4 the \
         configuration has mistakes.\n\nExample:\n  dlite config show --sources\n  dlite config show -o json",
    ),
    (
        "status",
        "States: serving; store_failing while the journal can't write; draining; drained. --resources adds what the process costs.\n\n\
         Exit codes: 0 it answered, whatever its state; 1 failed; 2 usage; 3 the delegate is unreachable.\n\nExample:\n  dlite status\n  \
         dlite status --resources\n  dlite status -o json | jq .state",
    ),
    (
        "drain",
        "Acquires under way are awaited and their tasks run. What still runs at the end of the grace is cancelled. With --wait it \
         comes back when all is done, and its exit code says how.\n\nExit codes: 0 ordered, or done with --wait; 1 refused or failed; 2 \
         usage; 3 the delegate is unreachable; 5 the grace passed before everything was done.\n\nExample:\n  dlite drain \
         --finish-sessions --grace 2h --wait",
    ),
    (
        "resume",
        "Also after the drain is over. A process that was told to end can't be kept.\n\nExit codes: 0 work is taken again, 1 refused or \
         failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite resume",
    ),
    (
        "reload",
        "What can change while it runs is in force when this returns; the rest is named and waits for a restart.\n\nExit codes: 0 read, \
         1 the file has mistakes (all of them told) or it failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite config \
         check && dlite reload",
    ),
    (
        "tasks list",
        "Oldest first; tasks that an upstream lists and that are not taken are shown with the reason, too.\n\nExit codes: 0 ok, 1 \
         failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite tasks list\n  dlite tasks list -o json | jq '.[] | \
         select(.state == \"running\")'",
    ),
    (
        "tasks get",
        "Never a payload, a secret, or the value of an output.\n\nExit codes: 0 ok, 1 no such open task or failed, 2 usage, 3 the \
         delegate is unreachable.\n\nExample:\n  dlite tasks get t-1f2e3d4c-7",
    ),
    (
        "tasks explain",
        "One sentence or two for each task of that name: what it waits for, since when, and what would end that. It answers for tasks \
         on offer that are not taken, too, and for a while for those that are gone. docs/waits.md has the names that -o json \
         tells.\n\nExit codes: 0 ok, 1 no upstream has listed such a task or it failed, 2 usage, 3 the delegate is \
         unreachable.\n\nExample:\n  dlite tasks explain 5f2kQxYzTq\n  dlite tasks explain t-1f2e3d4c-7 -o json | jq -r \
         '.[].task.wait.name'",
    ),
    (
        "runners list",
        "States: attached; drained by the operator; draining (it wants to go); unhealthy by its own word; detached, with work left \
         behind or drained.\n\nExit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite runners list\n  \
         dlite runners list -o json | jq '.[] | select(.state != \"attached\")'",
    ),
    (
        "runners get",
        "With its handlers, its slots by class, and the ids of its tasks and sessions.\n\nExit codes: 0 ok, 1 no such runner or failed, 2 \
         usage, 3 the delegate is unreachable.\n\nExample:\n  dlite runners get vm-1",
    ),
    (
        "runners drain",
        "It gets no new task and no new session; what it has ends there, the steps and cleanups of its sessions included. Other runners \
         go on. It holds over restarts, of the runner's and the delegate's, until it is resumed. With --grace what is left is cancelled \
         after it and sessions are cleaned up; that asks first.\n\nExit codes: 0 it is drained, 1 refused, failed or not confirmed, 2 \
         usage or nobody to ask, 3 the delegate is unreachable.\n\nExample:\n  dlite runners drain vm-1 --grace 20m --reason 'a new disk'",
    ),
    (
        "runners resume",
        "Exit codes: 0 it gets work again, 1 refused or failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite runners \
         resume vm-1",
    ),
    (
        "upstreams pause",
        "What is here is finished and reported, aborts come, and stages that are open go on. It holds over restarts until it is \
         resumed.\n\nExit codes: 0 it is paused, 1 refused or failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite \
         upstreams pause drone-eu --reason 'its server moves'",
    ),
    (
        "upstreams resume",
        "Exit codes: 0 work is taken from it again, 1 refused or failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite \
         upstreams resume drone-eu",
    ),
    (
        "tasks cancel",
        "The runner is asked first. Once the grace is over, or at once with --force, the delegate takes the task from it and answers \
         the upstream by itself. The first result counts.\n\nExit codes: 0 it is to stop, 1 refused (such as finished already) or failed, \
         2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite tasks cancel t-1f2e3d4c-7 --reason 'wrong branch' --grace 30s",
    ),
    (
        "tasks logs",
        "Secrets are masked already. Lines that are missing are a line that says how many and why.\n\nExit codes: 0 ok, 1 no such log or \
         failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite tasks logs t-1f2e3d4c-7 -f",
    ),
    (
        "sessions list",
        "Oldest first. Phases: setting_up, ready, closing, orphaned (its runner is gone).\n\nExit codes: 0 ok, 1 failed, 2 usage, 3 the \
         delegate is unreachable.\n\nExample:\n  dlite sessions list",
    ),
    (
        "sessions close",
        "Its tasks are cancelled, and its cleanup runs, on the runner that holds what it left. With --force it is forgotten, and what it \
         left stays.\n\nExit codes: 0 its end has begun, 1 refused or failed, 2 usage, 3 the delegate is unreachable.\n\nExample:\n  dlite \
         sessions close s-1f2e3d4c-9 --reason leaked",
    ),
    (
        "upstreams check",
        "It registers nobody, acquires nothing, and polls under an id that nobody has. Needs no running delegate.\n\nExit codes: 0 the way \
         is clear, 1 no such upstream, 2 usage, 4 a stage failed, with what to do about it.\n\nExample:\n  dlite upstreams check harness",
    ),
    (
        "upstreams list",
        "From the configuration; needs no running delegate. `dlite status` shows how a running one stands with each.\n\nExit codes: 0 ok, \
         2 usage, 4 the configuration has mistakes.\n\nExample:\n  dlite upstreams list",
    ),
    (
        "runner exec",
        "Each task type has a command; see the README for what a script is given and how it answers.\n\nExit codes: 0 stopped after its \
         tasks were done, or checked; 1 failed; 2 usage; 4 the file has mistakes.\n\nExample:\n  dlite runner exec --check --config \
         exec.toml\n  dlite runner exec --config exec.toml",
    ),
    (
        "runner pipeline",
        "Stages come from a Drone server by way of the delegate; steps run as this user, without a container.\n\nExit codes: 0 stopped \
         after its stages were done, or checked; 1 failed; 2 usage; 4 the file has mistakes.\n\nExample:\n  dlite runner pipeline \
         --check --config pipeline.toml\n  dlite runner pipeline --config pipeline.toml",
    ),
    (
        "runner pipeline lint",
        "Asks no server, and runs nothing.\n\nExit codes: 0 told what would run, 1 the file can't be read, 2 usage, 4 it has \
         mistakes.\n\nExample:\n  dlite runner pipeline lint .drone.yml\n  dlite runner pipeline lint .drone.yml --branch main \
         --event pull_request",
    ),
    (
        "dev",
        "Nothing outside of this machine is touched.\n\nExit codes: 0 each task has exactly one effective result with the right code, 1 \
         not so, 2 usage.\n\nExample:\n  dlite dev\n  dlite dev --traces\n  dlite dev --keep",
    ),
    (
        "dev submit",
        "Needs a `dlite dev --keep` in another terminal.\n\nExit codes: 0 submitted, 1 failed, 2 usage.\n\nExample:\n  dlite dev submit \
         --type DEV_WORK --data '{\"millis\":100}'",
    ),
    (
        "dev runner",
        "Handlers that work for so long as their payload says; for tests and for a first look.\n\nExit codes: 0 stopped, 1 failed, 2 \
         usage.\n\nExample:\n  dlite dev runner --connect unix:/run/dlite/runners.sock --id dev-1",
    ),
    (
        "dev span",
        "For scripts of the exec runner: the command is a span below the task's own in its trace.\n\nExit codes: 0 to 255, those of the command; 1 it \
         could not be started; 2 usage.\n\nExample:\n  dlite dev span compile -- make -j4",
    ),
    (
        "dev bench",
        "Figures stand beside floors that are measured in the same run, so that they mean something on any host.\n\nExit codes: 0 done, 1 \
         failed, or with --check a bound does not hold, 2 usage.\n\nExample:\n  cargo run --release -- dev bench --check",
    ),
];

/// The whole command line.
pub fn command() -> Command {
    told(Cli::command(), "")
}

fn told(mut command: Command, path: &str) -> Command {
    if command.get_after_help().is_none()
        && let Some((_, text)) = TEXTS.iter().find(|(of, _)| *of == path)
    {
        command = command.after_help(*text);
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |sub| told(sub, &path));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_only_commands_that_there_are() {
        let whole = Cli::command();
        for (path, _) in TEXTS {
            let mut at = Some(&whole);
            for name in path.split(' ') {
                at = at.and_then(|command| command.find_subcommand(name));
            }
            assert!(at.is_some(), "there is no command {path:?}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
