//! What systemd is told: ready, alive, one sentence about the state, stopping. Outside systemd nobody is told anything.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use super::{
    readiness::Readiness,
    vitals::{Pulse, Vitals},
};

/// How often the sentence is looked at if there is no watchdog to feed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest time between two looks, however short the watchdog's.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The way to the supervisor of this process.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    /// It wants to hear from us at least this often.
    watchdog: Option<Duration>,
}

// === impl Supervisor ===

impl Supervisor {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`), if there is one.
    pub fn of_process() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?.into_vec();
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        match Self::connect(&path, watchdog) {
            Ok(supervisor) => Some(supervisor),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET can't be used: systemd is told nothing");
                None
            }
        }
    }

    /// The one behind a datagram socket: a path, or an abstract name after `@`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(path: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match path.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A supervisor that does not read is not waited for.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The process ends within `patience`, and is to be left that time.
    pub fn stopping(&self, patience: Duration) {
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", patience.as_micros()));
    }

    /// Feeds the watchdog twice in its time for as long as the loop turns, and tells the state whenever it is another. Ends only by
    /// being dropped.
    pub async fn follow(&self, vitals: &Vitals) {
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |time| (time / 2).max(LOOK_INTERVAL_MIN));
        let mut said = String::new();
        loop {
            let sentence = Readiness::of(vitals).sentence();
            if sentence != said {
                self.tell(&format!("STATUS={sentence}"));
                said = sentence;
            }
            if self.watchdog.is_some() && vitals.pulse() == Pulse::Turns {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(interval).await;
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::debug!(%error, state, "systemd was not told");
        }
    }
}
