//! Puts the parts together: state directory, journal, core, driver, listeners; and takes them apart in the other order.
//!
//! `dlite run` and `dlite dev` start the very same daemon.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    admin,
    config::Config,
    core::{self, Core, id::UpstreamName, trace::TraceScope},
    driver::{self, Clock, Driver, Observer},
    health::{self, Vitals, grpc::Health},
    journal,
    runners::{convert, ids::Ids, link::Terms, server, service::Service},
    state_dir::{self, StateDir},
    telemetry::{
        metrics::{self, Metrics, Timed},
        traces::Propagation,
    },
    upstreams::Upstream,
};

/// How long peers have to hang up when the delegate stops: some don't read, and some watch its health for ever.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(2);

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
    stop: watch::Sender<bool>,
    parts: JoinSet<Result<(), Error>>,
    /// Last to go: nobody else may open the state before all is closed.
    state: Arc<StateDir>,
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
    observer: Observer,
    wrap: impl FnOnce(journal::Sqlite) -> S,
) -> Result<Daemon, Error> {
    let state = Arc::new(StateDir::lock(&config.state_dir)?);
    let bind = |what, path: String| move |source| Error::Bind { what, path, source };
    let vitals = Vitals::new();
    let metrics = Metrics::start(config, &vitals)?;
    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    // Before the journal is read, which may take a while: a start is to be seen.
    let mut http = None;
    if let Some(address) = config.http.listen {
        let (listener, bound) = health::http::bind(address).map_err(bind("http.listen", address.to_string()))?;
        let serving = health::http::serve(listener, vitals.clone(), metrics.clone(), until(stopped.clone()));
        parts.spawn_blocking(move || serving().map_err(bind("http.listen", bound.to_string())));
        http = Some(bound);
    }

    let opened = journal::open(&state)?;
    let rows = opened.rows.iter().map(|row| (row.scope, row.number, &row.body[..]));
    let ledger = core::rebuild(rows).map_err(|error| Error::Misfit { what: error.to_string() })?;
    drop(opened.rows);
    let resumed = ledger.tasks().count();

    let clock = Clock::start();
    let core_config = core_config(config);
    let core = Core::new(core_config.clone(), ledger, clock.now(), entropy()?);
    let (tell, news) = driver::journal_news();
    let writer =
        journal::Writer::start(Timed::new(wrap(opened.store), metrics.clone()), journal::Pace::default(), tell)?;

    let delegate = core.delegate();
    let kinds: BTreeMap<_, _> = upstreams.iter().map(|(name, up)| (name.clone(), up.kind())).collect();
    let (sender, inbox) = mpsc::channel(crate::inbox::INBOX_MAX);
    let propagation = Propagation::of(&config.traces);
    let terms = Terms { config: core_config, delegate, ids: Ids::of(delegate), kinds: kinds.clone(), propagation };
    let terms = Arc::new(terms);
    let links = Arc::new(AtomicU64::new(1));
    let health = Health::of(&vitals).await;

    state.claim_socket(&config.runners.socket)?;
    state.claim_socket(&config.admin.socket)?;
    let (listener, access) = server::bind_unix(&config.runners.socket)
        .map_err(bind("the runners' socket", config.runners.socket.display().to_string()))?;
    let service = Service { terms: terms.clone(), driver: sender.clone(), access, links: links.clone() };
    parts.spawn(transport(
        "the runners' socket",
        server::serve_unix(listener, service, health.clone(), until(stopped.clone())),
        stopped.clone(),
    ));

    let mut listen = None;
    if let Some(address) = config.runners.listen {
        let (incoming, bound) = server::bind_tcp(address).map_err(bind("the runners' address", address.to_string()))?;
        let access = server::token_access(&token(config, &state)?);
        let service = Service { terms, driver: sender.clone(), access, links };
        parts.spawn(transport(
            "the runners' address",
            server::serve_tcp(incoming, service, health.clone(), until(stopped.clone())),
            stopped.clone(),
        ));
        listen = Some(bound);
    }

    let listener = admin::bind(&config.admin.socket)
        .map_err(bind("the admin socket", config.admin.socket.display().to_string()))?;
    let service = admin::Service { name: config.name.clone(), ids: Ids::of(delegate), kinds, driver: sender.clone() };
    parts.spawn(transport(
        "the admin socket",
        admin::serve(listener, service, health.clone(), until(stopped.clone())),
        stopped.clone(),
    ));

    let driver = Driver::new(driver::Parts {
        core,
        clock,
        writer,
        news,
        inbox,
        sender,
        upstreams,
        observer,
        metrics: metrics.clone(),
        vitals: vitals.clone(),
    });
    health.look(&vitals).await;
    let (watched, ending) = (vitals.clone(), until(stopped.clone()));
    parts.spawn(async move {
        health.follow(&watched, ending).await;
        Ok(())
    });
    parts.spawn(async move { Ok(driver.run(stopped).await?) });
    let (runners_socket, admin_socket) = (config.runners.socket.clone(), config.admin.socket.clone());
    Ok(Daemon { runners_socket, admin_socket, listen, http, metrics, vitals, resumed, stop, parts, state })
}

// === impl Daemon ===

impl Daemon {
    /// Ends when a part of the delegate did, which none does by itself but by a failure.
    ///
    /// # Errors
    /// What ended it.
    pub async fn failed(&mut self) -> Result<(), Error> {
        match self.parts.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
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
        attempts_max: config.runners.attempts_max,
        tasks_max: usize::try_from(config.tasks_max).unwrap_or(usize::MAX),
        payload_bytes_max: convert::PAYLOAD_BYTES_MAX,
        upstreams: config.upstreams.iter().map(core_upstream).collect(),
        #[cfg(test)]
        planted: None,
    }
}

fn core_upstream(upstream: &crate::config::Upstream) -> core::config::Upstream {
    core::config::Upstream {
        name: upstream.name.as_str().into(),
        trace_scope: TraceScope { kind: upstream.kind.as_str().into(), account: upstream.account_id.as_str().into() },
        poll_interval: upstream.poll_interval,
        heartbeat_interval: upstream.heartbeat_interval,
        task_types: upstream.task_types.iter().flatten().map(|name| name.as_str().into()).collect(),
        report_age_max: upstream.report_age_max,
        report_retry_min: upstream.report_retry_min,
        report_retry_max: upstream.report_retry_max,
        acquire_recovery_max: upstream.acquire_recovery_max,
        unregister_on_stop: upstream.unregister_on_stop,
    }
}

/// The TCP listener's token. The one in the state directory is made at the first start; one elsewhere is the operator's.
fn token(config: &Config, state: &StateDir) -> Result<Vec<u8>, Error> {
    let path = &config.runners.token_file;
    if *path == state.token() {
        let fresh = format!("{:032x}{:032x}", entropy()?, entropy()?);
        let secret = state.secret_file(StateDir::TOKEN, || fresh.into_bytes())?;
        return Ok(secret.expose().trim_ascii().to_vec());
    }
    let text = std::fs::read(path).map_err(|source| Error::Token { path: path.clone(), source })?;
    Ok(text.trim_ascii().to_vec())
}

fn entropy() -> Result<u128, Error> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(u128::from_be_bytes(bytes))
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
