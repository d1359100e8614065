//! The database: repositories, builds, stages, steps, each row with its version; and the live logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{
    options::{NewBuild, NewRepo, OPEN_STAGES_MAX, Options, SubmitError, Submitted},
    record::{Record, StageSeen},
    wire::{Build, Stage, Step, cut, is_done},
};
use crate::doubles::at::At;

/// Everything the server knows, and what was seen on the way.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) record: Record,
    pub(super) repos: BTreeMap<i64, Repo>,
    pub(super) builds: BTreeMap<i64, BuildRow>,
    /// Steps with a live log.
    pub(super) live: BTreeSet<i64>,
    /// An administrator stopped the hand-out.
    pub(super) paused: bool,
    first_id: i64,
    next_step: i64,
    next_stage: i64,
}

#[derive(Debug)]
pub(super) struct Repo {
    pub(super) id: i64,
    pub(super) spec: NewRepo,
    /// Builds so far.
    pub(super) counter: i64,
}

#[derive(Debug)]
pub(super) struct BuildRow {
    pub(super) build: Build,
    pub(super) config: String,
    /// When a cancel went to those who watch.
    pub(super) cancelled: Option<Instant>,
}

/// The version that a write named is not the row's, or there is no row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict;

// === impl Tables ===

impl Tables {
    pub(super) fn new(options: &Options) -> Self {
        let first = options.first_id;
        let mut tables = Self {
            record: Record::default(),
            repos: BTreeMap::new(),
            builds: BTreeMap::new(),
            live: BTreeSet::new(),
            paused: false,
            first_id: first,
            next_step: first,
            next_stage: first,
        };
        tables.add_repo(NewRepo::new("acme/kettle"));
        tables
    }

    pub(super) fn add_repo(&mut self, spec: NewRepo) -> i64 {
        let id = self.repos.last_key_value().map_or(self.first_id, |(last, _)| last + 1);
        self.repos.insert(id, Repo { id, spec, counter: 0 });
        id
    }

    pub(super) fn submit(&mut self, new: NewBuild) -> Result<Submitted, SubmitError> {
        let repo_id = new.repo.unwrap_or(self.first_id);
        for stage in &new.stages {
            let missing = stage.depends_on.iter().find(|name| !new.stages.iter().any(|other| other.name == **name));
            if let Some(missing) = missing {
                return Err(SubmitError::NoDependency { stage: stage.name.clone(), missing: missing.clone() });
            }
        }
        if new.stages.is_empty() {
            return Err(SubmitError::NoStages);
        }
        if self.open_stages().count() + new.stages.len() > OPEN_STAGES_MAX {
            return Err(SubmitError::TooMany { max: OPEN_STAGES_MAX });
        }
        let now = At::now().unix();
        let id = self.builds.last_key_value().map_or(self.first_id, |(last, _)| last + 1);
        let repo = self.repos.get_mut(&repo_id).ok_or(SubmitError::NoRepo { id: repo_id })?;
        repo.counter += 1;
        let (number, throttle) = (repo.counter, repo.spec.throttle);
        let mut stages = Vec::new();
        let build = build(id, repo_id, number, &new, now);
        for (nth, stage) in (1..).zip(new.stages) {
            let waits = !stage.depends_on.is_empty();
            let row = Stage {
                id: self.next_stage,
                repo_id,
                build_id: id,
                number: nth,
                name: stage.name,
                kind: "pipeline".to_owned(),
                stage_type: stage.stage_type,
                status: if waits { "waiting_on_dependencies" } else { "pending" }.to_owned(),
                os: stage.os,
                arch: stage.arch,
                variant: stage.variant,
                kernel: stage.kernel,
                limit: stage.limit,
                throttle,
                created: now,
                updated: now,
                version: 1,
                on_success: stage.on_success,
                on_failure: stage.on_failure,
                depends_on: stage.depends_on,
                labels: stage.labels,
                ..Stage::default()
            };
            self.next_stage += 1;
            self.record.totals.submitted += 1;
            stages.push(row.id);
            self.record.stages.insert(row.id, StageSeen::new(row));
        }
        self.builds.insert(id, BuildRow { build, config: new.config, cancelled: None });
        Ok(Submitted { build: id, stages })
    }

    pub(super) fn stages_of(&self, build: i64) -> impl Iterator<Item = &Stage> {
        self.record.stages.values().map(|seen| &seen.row).filter(move |stage| stage.build_id == build)
    }

    pub(super) fn open_stages(&self) -> impl Iterator<Item = &Stage> {
        self.record.stages.values().map(|seen| &seen.row).filter(|stage| !is_done(&stage.status))
    }

    /// Writes a stage as it is in `body`, if the version is the row's; what the server never writes stays (wire reference, 3.6).
    /// The body gets the row's new version.
    pub(super) fn save_stage(&mut self, body: &mut Stage) -> Result<(), Conflict> {
        let seen = self.record.stages.get_mut(&body.id).ok_or(Conflict)?;
        let row = &seen.row;
        if row.version != body.version {
            return Err(Conflict);
        }
        cut(&mut body.error);
        body.updated = At::now().unix();
        body.version += 1;
        seen.row = Stage {
            repo_id: row.repo_id,
            build_id: row.build_id,
            number: row.number,
            name: row.name.clone(),
            kind: row.kind.clone(),
            stage_type: row.stage_type.clone(),
            limit: row.limit,
            throttle: row.throttle,
            steps: Vec::new(),
            ..body.clone()
        };
        Ok(())
    }

    /// The same of a step (wire reference, 3.7).
    pub(super) fn save_step(&mut self, body: &mut Step) -> Result<(), Conflict> {
        let seen = self.record.steps.get_mut(&body.id).ok_or(Conflict)?;
        if seen.row.version != body.version {
            return Err(Conflict);
        }
        cut(&mut body.error);
        body.version += 1;
        seen.row = Step { step_id: seen.row.step_id, number: seen.row.number, ..body.clone() };
        Ok(())
    }

    pub(super) fn next_step_id(&mut self) -> i64 {
        self.next_step += 1;
        self.next_step - 1
    }
}

fn build(id: i64, repo_id: i64, number: i64, new: &NewBuild, now: i64) -> Build {
    Build {
        id,
        repo_id,
        trigger: "@hook".to_owned(),
        number,
        status: "pending".to_owned(),
        event: new.event.clone(),
        message: "boil faster".to_owned(),
        before: "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f".to_owned(),
        after: new.commit.clone(),
        git_ref: new.git_ref.clone(),
        source_repo: new.source_repo.clone(),
        source: new.target.clone(),
        target: new.target.clone(),
        deploy_to: new.deploy_to.clone(),
        author_login: "rosa".to_owned(),
        author_name: "Rosa Example".to_owned(),
        author_email: "rosa@example.test".to_owned(),
        sender: "rosa".to_owned(),
        created: now,
        updated: now,
        version: 1,
        ..Build::default()
    }
}
