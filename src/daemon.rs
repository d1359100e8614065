//! Puts the parts together: state directory, journal, core, driver, listeners; and takes them apart in the other order.
//!
//! `dlite run` and `dlite dev` start the very same daemon.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    admin,
    config::{Config, UpstreamKind},
    core::{
        self, Core,
        admission::{Amount, Limits, Marks, Resource, Starts},
        audit::{Actor, Deed, FOLLOWED},
        command::Command,
        drain::Departure,
        effect::Note,
        id::{DelegateId, TaskType, UpstreamName},
        input::Input,
        task::Kind,
        trace::TraceScope,
    },
    driver::{self, Clock, Driver, Observer},
    health::{self, Vitals, grpc::Health},
    inbox::{Event, Question},
    journal,
    logs::{
        desk::Desk,
        files::Files,
        seal::Seal,
        spool::{self, Spool},
        uploads,
    },
    page::{self, Page},
    pressure::{self, Places, Sampler},
    runners::{access::Token, convert, ids::Ids, link::Terms, server, service::Service},
    state_dir::{self, Secret, StateDir},
    telemetry::{
        events::Events,
        metrics::{self, Metrics, Timed, definitions as table},
        traces::Propagation,
    },
    upstreams::{Upstream, drone},
};

/// How long peers have to hang up when the delegate stops: some don't read, and some watch its health for ever.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the driver may take to count what it leaves.
const LEAVINGS_TIMEOUT: Duration = Duration::from_secs(1);

/// A running delegate.
pub struct Daemon {
    pub runners_socket: PathBuf,
    pub admin_socket: PathBuf,
    /// Where runners reach it over TCP, if configured; the port is the bound one.
    pub listen: Option<SocketAddr>,
    /// Where metrics and health are asked for, unless switched off; the port is the bound one.
    pub http: Option<SocketAddr>,
    pub metrics: Metrics,
    pub vitals: Vitals,
    /// Tasks that the journal knew at the start.
    pub resumed: usize,
    reloads: mpsc::Receiver<admin::Reload>,
    driver: mpsc::Sender<Event>,
    logs: Desk,
    /// What the upstreams know of the parts that task types play in a stage; a reload changes nothing of it.
    known_kinds: BTreeMap<TaskType, Kind>,
    stop: watch::Sender<bool>,
    /// Filled by the driver before its part ends, if a drain ended it.
    departed: oneshot::Receiver<Departure>,
    parts: JoinSet<Result<(), Error>>,
    /// Last to go: nobody else may open the state before all is closed.
    state: Arc<StateDir>,
}

/// What only the process around a delegate can do for it.
pub enum Wish {
    /// A part of it ended: the driver after a drain that was to end the process, with what it left, another by a failure only. Call
    /// [`Daemon::stop`] afterwards.
    End(Result<Option<Departure>, Error>),
    /// The operator wants the configuration read anew; the process knows its file and flags.
    Reload(admin::Reload),
}

/// Why the delegate does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    StateDir(#[from] state_dir::Error),
    #[error("the journal can't be used: {}", .0.chain())]
    Journal(#[from] journal::Error),
    #[error(
        "the journal does not make sense: {what}; restore the state directory from a backup, or move it away to start anew"
    )]
    Misfit { what: String },
    #[error("logs can't be kept")]
    Logs(#[from] spool::Error),
    #[error("{} is too short for a key; restore it, or move it and the logs away to start anew", path.display())]
    LogKey { path: PathBuf },
    #[error("{what} {path} can't be bound")]
    Bind { what: &'static str, path: String, source: std::io::Error },
    #[error("runners.token_file {} can't be read; put a token into it, or leave the key out to have one made", .path.display())]
    Token { path: PathBuf, source: std::io::Error },
    #[error("{what} stopped")]
    Transport { what: &'static str, source: tonic::transport::Error },
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    #[error(transparent)]
    Driver(#[from] driver::Error),
    #[error("no random bytes can be had from the system")]
    Random,
    #[error("a part of the delegate panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Starts a delegate; it is ready when this returns.
///
/// # Errors
/// If the state is in use or damaged, or a socket can't be bound.
pub async fn start(
    config: &Config,
    upstreams: BTreeMap<UpstreamName, Arc<dyn Upstream>>,
    observer: Observer,
) -> Result<Daemon, Error> {
    start_on(config, upstreams, observer, |store| store).await
}

/// The same with something between the journal's writer and its store, such as a measure.
///
/// # Errors
/// As [`start`].
pub async fn start_on<S: journal::Store + 'static>(
    config: &Config,
    upstreams: BTreeMap<UpstreamName, Arc<dyn Upstream>>,
    mut observer: Observer,
    wrap: impl FnOnce(journal::Sqlite) -> S,
) -> Result<Daemon, Error> {
    let events = Events::new();
    let watched = events.clone();
    let observer = Box::new(move |ids: &Ids, note: &Note| {
        watched.note(ids, note);
        observer(ids, note);
    });
    let state = Arc::new(StateDir::lock(&config.state_dir)?);
    let bind = |what, path: String| move |source| Error::Bind { what, path, source };
    let vitals = Vitals::new();
    let metrics = Metrics::start(config, &vitals)?;
    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    // Before the journal is read, which may take a while: a start is to be seen.
    let mut http = None;
    let mut page = None;
    if let Some(address) = config.http.listen {
        let (listener, bound) = health::http::bind(address).map_err(bind("http.listen", address.to_string()))?;
        let routes = match page::refusal(config.http.page, bound) {
            None => {
                let token = Token::new(own_token(&state, StateDir::ADMIN_TOKEN)?.expose().trim_ascii());
                let doors = page::Doors { token, address: bound, vitals: vitals.clone() };
                page.insert(Page::new(doors)).routes()
            }
            Some(refusal) => page::refuse(refusal),
        };
        let serving = health::http::serve(listener, vitals.clone(), metrics.clone(), routes, until(stopped.clone()));
        parts.spawn_blocking(move || serving().map_err(bind("http.listen", bound.to_string())));
        http = Some(bound);
    }

    let opened = journal::open(&state)?;
    let rows = opened.rows.iter().map(|row| (row.scope, row.number, &row.body[..]));
    let ledger = core::rebuild(rows).map_err(|error| Error::Misfit { what: error.to_string() })?;
    drop(opened.rows);
    let resumed = ledger.tasks().count();

    let clock = Clock::start();
    let mut core_config = core_config(config);
    let known_kinds: BTreeMap<_, _> = upstreams.values().flat_map(|up| up.known_kinds()).collect();
    core_config.kinds = known_kinds.clone();
    let mut core = Core::new(core_config.clone(), ledger, clock.now(), entropy()?);
    let places = Places {
        proc: config.admission.proc_dir.clone(),
        cgroup: config.admission.cgroup_dir.clone(),
        disk: config.admission.disk_path.clone(),
    };
    let mut sampler = Sampler::of_host(&places, &core_config.admission);
    // Nothing is taken before the host was looked at once.
    core.handle(clock.now(), Input::Pressure(sampler.sample(Instant::now())));
    let (tell, news) = driver::journal_news();
    let writer =
        journal::Writer::start(Timed::new(wrap(opened.store), metrics.clone()), journal::Pace::default(), tell)?;

    let delegate = core.delegate();
    let kinds: BTreeMap<_, _> = upstreams.iter().map(|(name, up)| (name.clone(), up.kind())).collect();
    let (sender, inbox) = mpsc::channel(crate::inbox::INBOX_MAX);
    let propagation = Propagation::of(&config.traces);
    let terms = Terms { config: core_config, delegate, ids: Ids::of(delegate), kinds: kinds.clone(), propagation };
    let terms = Arc::new(terms);
    let logs = logs(config, &state, &upstreams, delegate, &sender)?;
    watch_spool(&logs.spool().census(), &metrics, &vitals);
    let links = Arc::new(AtomicU64::new(1));
    let health = Health::of(&vitals).await;

    state.claim_socket(&config.runners.socket)?;
    state.claim_socket(&config.admin.socket)?;
    let (listener, access) = server::bind_unix(&config.runners.socket)
        .map_err(bind("the runners' socket", config.runners.socket.display().to_string()))?;
    let service =
        Service { terms: terms.clone(), driver: sender.clone(), access, links: links.clone(), logs: logs.clone() };
    parts.spawn(transport(
        "the runners' socket",
        server::serve_unix(listener, service, health.clone(), until(stopped.clone())),
        stopped.clone(),
    ));

    let mut listen = None;
    if let Some(address) = config.runners.listen {
        let (incoming, bound) = server::bind_tcp(address).map_err(bind("the runners' address", address.to_string()))?;
        let access = server::token_access(&token(config, &state)?);
        let service = Service { terms, driver: sender.clone(), access, links, logs: logs.clone() };
        parts.spawn(transport(
            "the runners' address",
            server::serve_tcp(incoming, service, health.clone(), until(stopped.clone())),
            stopped.clone(),
        ));
        listen = Some(bound);
    }

    let listener = admin::bind(&config.admin.socket)
        .map_err(bind("the admin socket", config.admin.socket.display().to_string()))?;
    let (reloads, reload_orders) = mpsc::channel(1);
    let service = admin::Service {
        name: config.name.clone(),
        ids: Ids::of(delegate),
        kinds,
        driver: sender.clone(),
        reloads,
        logs: logs.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        state_dir: config.state_dir.clone(),
        certificates: config.upstreams.iter().map(certificates).collect(),
    };
    let service = Arc::new(service);
    if let Some(page) = page {
        page.open(service.clone());
    }
    parts.spawn(transport(
        "the admin socket",
        admin::serve(listener, service, health.clone(), until(stopped.clone())),
        stopped.clone(),
    ));

    let (attached, wanted) = watch::channel(false);
    let (interval, stop_looking) = (config.admission.interval, until(stopped.clone()));
    let looking = pressure::run(sampler, interval, sender.clone(), wanted, stop_looking);
    parts.spawn(async move {
        looking.await;
        Ok(())
    });

    let (desk, counting) = (logs.clone(), metrics.clone());
    let (sweeping, shipping) = (until(stopped.clone()), until(stopped.clone()));
    parts.spawn(async move {
        tokio::join!(logs.sweep(sweeping), uploads::run(logs.clone(), counting, shipping));
        Ok(())
    });

    for (name, changes) in upstreams.iter().filter_map(|(name, up)| Some((name.clone(), up.secret_changes()?))) {
        let recording = record_secrets(name, changes, sender.clone());
        let stopping = until(stopped.clone());
        parts.spawn(async move {
            tokio::select! {
                () = recording => {}
                () = stopping => {}
            }
            Ok(())
        });
    }

    let driver_inbox = sender.clone();
    let driver = Driver::new(driver::Parts {
        core,
        clock,
        writer,
        news,
        inbox,
        sender,
        upstreams,
        observer,
        attached,
        metrics: metrics.clone(),
        vitals: vitals.clone(),
    });
    health.look(&vitals).await;
    let (watched, ending) = (vitals.clone(), until(stopped.clone()));
    parts.spawn(async move {
        health.follow(&watched, ending).await;
        Ok(())
    });
    let (depart, departed) = oneshot::channel();
    parts.spawn(async move {
        if let Some(departure) = driver.run(stopped).await? {
            // The daemon may be on its way out already.
            let _ = depart.send(departure);
        }
        Ok(())
    });
    let (runners_socket, admin_socket) = (config.runners.socket.clone(), config.admin.socket.clone());
    Ok(Daemon {
        runners_socket,
        admin_socket,
        listen,
        http,
        metrics,
        vitals,
        resumed,
        reloads: reload_orders,
        driver: driver_inbox,
        logs: desk,
        known_kinds,
        stop,
        departed,
        parts,
        state,
    })
}

// === impl Daemon ===

impl Daemon {
    /// What the delegate wants of the process around it, next.
    pub async fn wish(&mut self) -> Wish {
        tokio::select! {
            ended = self.parts.join_next() => {
                let ended = ended.map_or(Ok(()), |ended| ended?);
                Wish::End(ended.map(|()| self.departed.try_recv().ok()))
            }
            Some(answer) = self.reloads.recv() => Wish::Reload(answer),
        }
    }

    /// Puts the live part of another configuration in force; the upstreams are the same ones.
    pub async fn reconfigure(&self, config: &Config) {
        let limits = log_limits(&config.logs);
        self.logs.spool().bound(limits.log_bytes_max, limits.all_bytes_max);
        self.logs.send_to(config.logs.files.clone().map(Files::new));
        let config = core::config::Config { kinds: self.known_kinds.clone(), ..core_config(config) };
        self.order(Command::Reconfigure(Box::new(config))).await;
    }

    /// Gives an order and waits until it is followed.
    pub async fn order(&self, command: Command) {
        let (sender, answer) = oneshot::channel();
        // A driver that is gone has ended, which [`wish`](Self::wish) tells.
        if self.driver.send(Event::Order(command, sender)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// What the process would leave if it ended now; nothing if the driver does not answer.
    pub async fn leavings(&self) -> Option<Departure> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.driver.send(Event::Ask(Question::Leavings(sender))).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(LEAVINGS_TIMEOUT, asked).await.ok()?
    }

    /// Closes the links, makes durable what is recorded and lets go of the state directory. Running tasks go on in their
    /// runners, and are taken up again by the next start.
    ///
    /// # Errors
    /// The first failure of a part on the way.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.vitals.stop();
        let _ = self.stop.send(true);
        let mut outcome = Ok(());
        while let Some(ended) = self.parts.join_next().await {
            outcome = outcome.and(ended.map_err(Error::from).and_then(|ended| ended));
        }
        for socket in [&self.runners_socket, &self.admin_socket] {
            // A socket that is left over is claimed by the next start.
            let _ = std::fs::remove_file(socket);
        }
        self.metrics.stop().await;
        // It writes what is queued.
        drop(self.logs);
        drop(self.state);
        outcome
    }
}

/// The core's part of the configuration.
pub fn core_config(config: &Config) -> core::config::Config {
    core::config::Config {
        heartbeat_interval: config.runners.heartbeat_interval,
        lease_ttl: config.runners.lease_ttl,
        accept_timeout: config.runners.accept_timeout,
        reassign_margin: config.runners.reassign_margin,
        cancel_grace: config.runners.cancel_grace,
        revoke_margin: config.runners.revoke_margin,
        no_runner_timeout: config.runners.no_runner_timeout,
        run_time_max: config.runners.run_time_max,
        drain_grace: config.drain.grace,
        log_wait: config.logs.report_wait,
        attempts_max: config.runners.attempts_max,
        session_ttl: config.sessions.ttl,
        tasks_max: usize::try_from(config.tasks_max).unwrap_or(usize::MAX),
        payload_bytes_max: convert::PAYLOAD_BYTES_MAX,
        cleanup_reserve: config.runners.cleanup_reserve,
        // Of the adapters, which are not here.
        kinds: BTreeMap::new(),
        admission: limits(&config.admission),
        upstreams: config.upstreams.iter().map(core_upstream).collect(),
        #[cfg(test)]
        planted: None,
    }
}

fn core_upstream(upstream: &crate::config::Upstream) -> core::config::Upstream {
    core::config::Upstream {
        name: upstream.name.as_str().into(),
        trace_scope: TraceScope { kind: upstream.kind.as_str().into(), account: upstream.account_id.as_str().into() },
        poll_interval: match upstream.kind {
            UpstreamKind::Harness => upstream.poll_interval,
            UpstreamKind::Drone => drone::POLL_PAUSE,
        },
        heartbeat_interval: upstream.heartbeat_interval,
        task_types: upstream.task_types.iter().flatten().map(|name| name.as_str().into()).collect(),
        report_age_max: upstream.report_age_max,
        report_retry_min: upstream.report_retry_min,
        report_retry_max: upstream.report_retry_max,
        acquire_recovery_max: upstream.acquire_recovery_max,
        unregister_on_stop: upstream.unregister_on_stop,
        weight: upstream.weight,
        offers_one_at_a_time: upstream.kind == UpstreamKind::Drone,
    }
}

/// The files whose certificates are shown to, or trusted of, an upstream.
fn certificates(upstream: &crate::config::Upstream) -> (UpstreamName, Vec<PathBuf>) {
    let client = upstream.tls.client.iter().map(|client| client.cert.clone());
    (upstream.name.as_str().into(), client.chain(upstream.tls.ca_files.iter().cloned()).collect())
}

/// A high mark that nothing can pass needs no looking at.
fn limits(admission: &crate::config::Admission) -> Limits {
    let percent = |percent: u32| u8::try_from(percent).unwrap_or(u8::MAX);
    let marks = [
        (Resource::Memory, admission.memory),
        (Resource::MemoryPressure, admission.memory_pressure),
        (Resource::Disk, admission.disk),
        (Resource::Cpu, admission.cpu),
        (Resource::CpuPressure, admission.cpu_pressure),
        (Resource::IoPressure, admission.io_pressure),
    ];
    let marks = marks.into_iter().filter(|(_, marks)| marks.high < 100);
    let mebibytes = |count: Option<u32>| u64::from(count.unwrap_or(0)) << 20;
    Limits {
        marks: marks
            .map(|(resource, marks)| (resource, Marks { high: percent(marks.high), low: percent(marks.low) }))
            .collect(),
        execute_margin: percent(admission.execute_margin),
        starts: Some(Starts { per_second: admission.starts_per_second, burst: admission.starts_burst }),
        capacity: Amount {
            cpu_millis: admission.cpu_capacity_millis.unwrap_or(0).into(),
            memory_bytes: mebibytes(admission.memory_capacity_mib),
            disk_bytes: mebibytes(admission.disk_capacity_mib),
        },
    }
}

/// The desk of logs, with what an earlier process left.
fn logs(
    config: &Config,
    state: &StateDir,
    upstreams: &BTreeMap<UpstreamName, Arc<dyn Upstream>>,
    delegate: DelegateId,
    driver: &mpsc::Sender<Event>,
) -> Result<Desk, Error> {
    let (spool, recovered) = Spool::open(state.logs(), log_limits(&config.logs))?;
    if !recovered.logs.is_empty() {
        tracing::info!(logs = recovered.logs.len(), "logs of an earlier process are on disk");
    }
    let fresh = Seal::fresh_key().map_err(|_| Error::Random)?;
    let key = state.secret_file(StateDir::LOG_KEY, || fresh.to_vec())?;
    let seal = Seal::new(key.expose()).ok_or_else(|| Error::LogKey { path: state.path().join(StateDir::LOG_KEY) })?;
    let sinks = upstreams.iter().filter_map(|(name, upstream)| Some((name.clone(), upstream.log_sink()?)));
    let desk = Desk::new(spool, seal, sinks.collect(), Ids::of(delegate), driver.clone());
    desk.send_to(config.logs.files.clone().map(Files::new));
    Ok(desk)
}

/// Lets metrics and health see how full the spool is.
fn watch_spool(census: &spool::Census, metrics: &Metrics, vitals: &Vitals) {
    let look = |look: fn(&spool::Census) -> u64| {
        let census = census.clone();
        move || look(&census)
    };
    let of_bytes = census.clone();
    metrics.states_of(&table::SPOOL_BYTES, move || {
        let (open, closed) = of_bytes.bytes();
        [("open", open), ("closed", closed)]
    });
    metrics.gauge_of(&table::SPOOL_BYTES_MAX, look(spool::Census::bytes_max));
    metrics.gauge_of(&table::LOG_WAIT, look(|census| census.wait().as_secs()));
    vitals.watch_spool(look(spool::Census::used_percent));
}

fn log_limits(logs: &crate::config::Logs) -> spool::Limits {
    let mib = |count: u32| u64::from(count) << 20;
    spool::Limits {
        log_bytes_max: mib(logs.log_max_mib),
        all_bytes_max: mib(logs.all_max_mib),
        ..spool::Limits::default()
    }
}

/// The TCP listener's token. The one in the state directory is made at the first start; one elsewhere is the operator's.
fn token(config: &Config, state: &StateDir) -> Result<Vec<u8>, Error> {
    let path = &config.runners.token_file;
    if *path == state.token() {
        return Ok(own_token(state, StateDir::TOKEN)?.expose().trim_ascii().to_vec());
    }
    let text = std::fs::read(path).map_err(|source| Error::Token { path: path.clone(), source })?;
    Ok(text.trim_ascii().to_vec())
}

/// A token in the state directory, made at the first start.
fn own_token(state: &StateDir, name: &str) -> Result<Secret, Error> {
    let fresh = format!("{:032x}{:032x}", entropy()?, entropy()?);
    Ok(state.secret_file(name, || fresh.into_bytes())?)
}

fn entropy() -> Result<u128, Error> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Puts each change of an upstream's secret on record. Never comes back.
async fn record_secrets(upstream: UpstreamName, mut changes: watch::Receiver<u64>, driver: mpsc::Sender<Event>) {
    while changes.changed().await.is_ok() {
        let deed = Deed::new(Actor::of("file"), "secret changed", format!("upstream {upstream}"));
        let (answer, _) = oneshot::channel();
        // A driver that is gone has nothing to record on.
        let _ = driver.send(Event::Order(Command::PutOnRecord { deed, outcome: FOLLOWED.into() }, answer)).await;
    }
    std::future::pending().await
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means stop, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn transport(
    what: &'static str,
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let given_up = async {
        until(stopped).await;
        tokio::time::sleep(HANG_UP_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served.map_err(|source| Error::Transport { what, source }),
        () = given_up => Ok(()),
    }
}
