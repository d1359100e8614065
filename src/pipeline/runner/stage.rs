//! A stage made ready: its text read, its secrets found, its directory made; and the environment of each of its steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use uuid::Uuid;

use super::{
    Shop,
    board::Standing,
    clone,
    details::{Details, Facts},
    environ::{self, Variables},
    script::{SHELL, script},
    secrets::{self, Sources},
    stage_dir::StageDir,
    step::Job,
};
use crate::{
    kit::{mask::Mask, toml::value::is_variable},
    pipeline::{
        expand::expand,
        plan::{self, Build, Plan, Step, Work},
        yaml::{self, Checkout, Value},
    },
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Payload, Retry},
};

/// Taken from the runner's environment for each step.
const HOST_VARIABLES: [&str; 2] = ["PATH", "USER"];
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// See the module.
pub(super) struct Stage {
    pub plan: Plan,
    pub checkout: Checkout,
    pub mask: Mask,
    details: Details,
    /// Of all steps, by name.
    secrets: BTreeMap<String, secrets::Value>,
    dir: StageDir,
    host: Variables,
}

// === impl Stage ===

impl Stage {
    /// Makes it ready.
    ///
    /// # Errors
    /// A text that is no pipeline fails the task as invalid, with every mistake in it; a directory that can't be made as errored.
    pub async fn prepare(shop: &Shop, context: &Context, payload: &Payload) -> Result<Self, Failure> {
        let (mut details, facts) = (Details::read(payload)?, Facts::read(payload)?);
        if let Some(info) = context.extension::<StageInfo>().filter(|_| details.stage.name.is_empty()) {
            details.stage.name = info.stage_name;
        }
        let text = BASE64_STANDARD.decode(details.config.data.as_bytes());
        let text = text.ok().and_then(|text| String::from_utf8(text).ok());
        let text = text.ok_or_else(|| Failure::invalid("config.Data is no base64 of a text"))?;
        let variables = shop.config.environment.clone();
        let variables = combined([variables, environ::for_expansion(&details, now())]);
        let text = expand(&text, &variables).map_err(|error| invalid(&error))?;
        let manifest = yaml::parse(&text).map_err(|error| invalid(&error))?;
        let pipeline = manifest.select(&details.stage.name).map_err(|error| invalid(&error))?;
        let plan = plan::plan(pipeline, &build(&details));
        let sources = Sources {
            details: &details,
            facts: &facts,
            manifest: &manifest,
            file: shop.secrets_file.as_ref(),
            plugin: shop.plugin.as_ref(),
        };
        let mut secrets = BTreeMap::new();
        for name in wanted(&plan) {
            match sources.find(name).await {
                Some(value) => drop(secrets.insert(name.to_owned(), value)),
                None => tracing::warn!(task_id = context.task_id(), secret = name, "no source has this secret"),
            }
        }
        let found = secrets.values().map(|value| value.expose().as_bytes());
        let mask = Mask::new(context.secrets().iter().map(|secret| &secret.value[..]).chain(found));
        let name = Uuid::new_v4().simple().to_string();
        let dir = StageDir::make(&shop.stages, &name, pipeline.workspace.path.as_deref(), details.netrc.as_ref());
        let dir = dir.map_err(|error| {
            let failure = Failure::errored("RUNNER_FAILED", format!("the stage's directory can't be made: {error}"));
            failure.side_effects(false).retry(Retry::OtherRunner)
        })?;
        let host = of_host(shop, &details);
        Ok(Self { checkout: pipeline.clone, plan, mask, details, secrets, dir, host })
    }

    /// What a step runs. `standing`: how the stage is going.
    ///
    /// # Errors
    /// Why it can't run at all.
    pub fn job(&self, step: &Step, standing: &Standing) -> Result<Job, String> {
        let (shell, commands) = match &step.work {
            Work::Clone(checkout) => {
                (SHELL, clone::commands(checkout, &self.details).map_err(|error| error.to_string())?)
            }
            Work::Script(script) => (script.shell.as_deref().unwrap_or(SHELL), script.commands.clone()),
        };
        let path = self.dir.write_script(step.number, &script(&commands));
        let path = path.map_err(|error| format!("its script can't be written: {error}"))?;
        Ok(Job {
            command: vec![shell.to_owned(), path.display().to_string()],
            environment: self.environment(step, standing),
            working_dir: self.dir.sources().to_owned(),
        })
    }

    /// For another attempt to fetch the sources.
    ///
    /// # Errors
    /// The directory can't be emptied.
    pub fn clear_sources(&self) -> std::io::Result<()> {
        self.dir.clear_sources()
    }

    /// Removes its directory. Everything that ran there has ended.
    pub async fn leave(self) {
        // A large tree takes its time.
        let _ = tokio::task::spawn_blocking(move || self.dir.remove()).await;
    }

    fn environment(&self, step: &Step, standing: &Standing) -> BTreeMap<String, String> {
        let (home, sources) = (self.dir.home().display().to_string(), self.dir.sources().display().to_string());
        let places = [
            ("HOME", home.clone()),
            ("HOMEPATH", home.clone()),
            ("USERPROFILE", home),
            ("TMPDIR", self.dir.temporary().display().to_string()),
            ("DRONE_HOME", sources.clone()),
            ("DRONE_WORKSPACE", sources.clone()),
            ("CI_WORKSPACE", sources),
        ];
        let places = places.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let own = match &step.work {
            Work::Clone(_) => Variables::new(),
            Work::Script(script) => script.environment().map(|(name, value)| self.valued(name, value)).collect(),
        };
        let mut environment = combined([
            self.host.clone(),
            environ::of_server(&self.details),
            clone::environment(&self.checkout, &self.details),
            places,
            own,
            environ::of_stage_now(&self.details, standing, now()),
            environ::of_step(&step.name, step.number),
        ]);
        // What can't be told is left out; the texts of the server hold none.
        environment.retain(|name, value| is_variable(name) && !value.contains('\0'));
        environment
    }

    fn valued(&self, name: &str, value: &Value) -> (String, String) {
        let value = match value {
            Value::Text(text) if name == "PATH" => {
                let path = self.host.get("PATH").map_or(PATH_DEFAULT, String::as_str);
                text.replace("${PATH}", path).replace("$PATH", path)
            }
            Value::Text(text) => text.clone(),
            // As the server's own runners have it: a secret that nobody has is empty.
            Value::FromSecret(secret) => {
                self.secrets.get(secret).map_or_else(String::new, |value| value.expose().to_owned())
            }
        };
        (name.to_owned(), value)
    }
}

/// What the conditions of a step are matched with.
fn build(details: &Details) -> Build {
    let build = &details.build;
    Build {
        action: build.action.clone(),
        branch: build.target.clone(),
        cron: build.cron.clone(),
        event: build.event.clone(),
        instance: details.system.host.clone(),
        reference: build.git_ref.clone(),
        repo: details.repository.slug.clone(),
        target: build.deploy_to.clone(),
    }
}

/// Names of the secrets that steps ask for.
fn wanted(plan: &Plan) -> BTreeSet<&str> {
    let scripts = plan.steps.iter().filter_map(|step| match &step.work {
        Work::Script(script) => Some(script),
        Work::Clone(_) => None,
    });
    let values = scripts.flat_map(|script| script.environment());
    let named = values.filter_map(|(_, value)| match value {
        Value::FromSecret(name) => Some(name.as_str()),
        Value::Text(_) => None,
    });
    named.collect()
}

/// Below all else: the runner's own environment as far as it is handed on, its configuration, and the build's parameters.
fn of_host(shop: &Shop, details: &Details) -> Variables {
    let get = |name: &str| std::env::var(name).ok();
    let names = HOST_VARIABLES.into_iter().chain(shop.config.pass_env.iter().map(String::as_str));
    let mut host: Variables = names.filter_map(|name| Some((name.to_owned(), get(name)?))).collect();
    host.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
    combined([host, shop.config.environment.clone(), details.build.params.clone(), environ::of_proxies(get)])
}

/// Later ones go before.
fn combined<const N: usize>(parts: [Variables; N]) -> Variables {
    parts.into_iter().flatten().collect()
}

fn invalid(error: &dyn std::fmt::Display) -> Failure {
    Failure::invalid(error.to_string())
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
