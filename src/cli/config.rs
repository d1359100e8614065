//! `dlite config check` and `dlite config show`, and the flags by which every command that needs the configuration is told of it.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, error::ErrorKind};
use serde_json::json;

use crate::config::{
    self, Complaint, DEFAULT_FILE, LoadOptions, Loaded, Setting,
    options::{Default, OPTIONS, Opt},
};

/// Exit code of a configuration with mistakes: a check has failed.
pub const EXIT_CHECK_FAILED: u8 = 4;

/// The configuration's flags, to be flattened into a command: `--config`, `--set`, and those in the table of options.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigArgs {
    /// The file that was named, by flag or `DLITE_CONFIG`.
    pub file: Option<PathBuf>,
    /// Keys of the table with values: named flags first, then `--set` in order, so that the latter wins.
    pub flags: Vec<(String, String)>,
}

/// Check the configuration and report every mistake at once
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Show every option in force, secrets masked
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Show where each value came from
    #[arg(long)]
    pub sources: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Form of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Checks the configuration: one line that begins with `ok:` and code 0, or every mistake and code 4.
pub fn check(args: &CheckArgs) -> ExitCode {
    exit_code(check_to(&args.config.load_options(), &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// Shows every option in force, secrets masked. With mistakes they are what is shown, with code 4.
pub fn show(args: &ShowArgs) -> ExitCode {
    let options = args.config.load_options();
    exit_code(show_to(&options, args.sources, args.output, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// [`check`] with its inputs and outputs given.
pub fn check_to(options: &LoadOptions, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let Some(loaded) = load_or_report(options, err)? else { return Ok(EXIT_CHECK_FAILED) };
    let from = match &options.file {
        Some(file) => file.display().to_string(),
        None => "environment and flags".to_owned(),
    };
    let names: Vec<&str> = loaded.config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let upstreams = if let [name] = names.as_slice() {
        format!("upstream {name}")
    } else {
        format!("upstreams {}", names.join(", "))
    };
    writeln!(out, "ok: {from}: delegate {}, {upstreams}", loaded.config.name)?;
    Ok(0)
}

/// [`show`] with its inputs and outputs given.
pub fn show_to(
    options: &LoadOptions,
    sources: bool,
    output: Output,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let Some(loaded) = load_or_report(options, err)? else { return Ok(EXIT_CHECK_FAILED) };
    match output {
        Output::Table => table(&loaded, sources, out)?,
        Output::Json => writeln!(out, "{:#}", document(&loaded, sources))?,
    }
    Ok(0)
}

fn load_or_report(options: &LoadOptions, err: &mut dyn Write) -> io::Result<Option<Loaded>> {
    match config::load(options) {
        Ok(loaded) => {
            report_warnings(&loaded.warnings, err)?;
            Ok(Some(loaded))
        }
        Err(complaints) => {
            writeln!(err, "{complaints}")?;
            Ok(None)
        }
    }
}

fn report_warnings(warnings: &[Complaint], err: &mut dyn Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}

fn table(loaded: &Loaded, sources: bool, out: &mut dyn Write) -> io::Result<()> {
    let width =
        |text: fn(&Setting) -> String| loaded.sources.iter().map(|s| text(s).chars().count()).max().unwrap_or(0);
    let (keys, values) = (width(|setting| setting.key.clone()), width(shown_value));
    if sources {
        writeln!(out, "{:keys$}  {:values$}  SOURCE", "KEY", "VALUE")?;
    } else {
        writeln!(out, "{:keys$}  VALUE", "KEY")?;
    }
    for setting in &loaded.sources {
        let (key, value) = (&setting.key, shown_value(setting));
        if sources {
            writeln!(out, "{key:keys$}  {value:values$}  {}", setting.source)?;
        } else {
            writeln!(out, "{key:keys$}  {value}")?;
        }
    }
    Ok(())
}

fn shown_value(setting: &Setting) -> String {
    setting.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

pub(super) fn document(loaded: &Loaded, sources: bool) -> serde_json::Value {
    let settings = loaded.sources.iter().map(|setting| {
        let mut entry = json!({ "key": setting.key, "value": setting.value.as_ref().map(config::Value::to_json) });
        if sources {
            entry["source"] = json!(setting.source.to_string());
        }
        entry
    });
    json!({ "settings": settings.collect::<Vec<_>>() })
}

/// A closed pipe behind standard output is no failure of the check, yet nobody has seen its outcome.
fn exit_code(outcome: io::Result<u8>) -> ExitCode {
    outcome.map_or(ExitCode::FAILURE, ExitCode::from)
}

// === impl ConfigArgs ===

impl ConfigArgs {
    /// With the environment and host of this process, and the default file if none was named.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions { flags: self.flags.clone(), ..LoadOptions::of_process(self.file.clone()) }
    }
}

const FILE: &str = "config";
const SET: &str = "set";

impl Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long("config")
            .value_name("PATH")
            .env("DLITE_CONFIG")
            .help(format!("Configuration file [default: {DEFAULT_FILE} if it exists]"));
        let set = Arg::new(SET)
            .long("set")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .help("Set any option by its key, several times if need be: --set runners.lease_ttl=90s");
        let named = OPTIONS.iter().filter_map(|option| Some(named(option, option.flag?)));
        command.arg(file).args(named).arg(set)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let named = OPTIONS.iter().filter_map(|option| {
            let value = matches.get_one::<String>(option.flag?)?;
            Some((option.key.to_owned(), value.clone()))
        });
        let set = matches.get_many::<String>(SET).into_iter().flatten().map(|text| assignment(text));
        let set = set.collect::<Result<Vec<_>, _>>()?;
        // An empty DLITE_CONFIG counts as not set, as other empty variables do.
        let file = matches.get_one::<String>(FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { file, flags: named.chain(set).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Keys without values: one may be a secret, on its way to be refused.
impl fmt::Debug for ConfigArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&String> = self.flags.iter().map(|(key, _)| key).collect();
        f.debug_struct("ConfigArgs").field("file", &self.file).field("flags", &flags).finish()
    }
}

fn named(option: &'static Opt, flag: &'static str) -> Arg {
    let default = match option.default {
        Default::Fixed("") | Default::Required(_) | Default::Absent(..) => String::new(),
        Default::Fixed(text) => format!(" [default: {text}]"),
        Default::Derived(text, _) => format!(" [default: {text}]"),
    };
    let environment = option.variable();
    Arg::new(flag)
        .long(flag)
        .value_name("VALUE")
        .help_heading("Configuration")
        .help(format!("{}{default} [environment: {environment}]", option.doc))
}

/// Not a value parser of clap's, which would repeat the text: it may be a secret with its key forgotten.
fn assignment(text: &str) -> Result<(String, String), clap::Error> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => {
            Err(clap::Error::raw(ErrorKind::ValueValidation, "a --set has no \"=\" in it; write --set KEY=VALUE\n"))
        }
    }
}
