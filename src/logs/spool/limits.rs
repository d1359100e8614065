//! How much the spool may take, and who takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::logs::record::GapReason;

/// Of one log on disk. A log stays there whole until its sink has it whole.
pub const LOG_BYTES_MAX: u64 = 512 << 20;
/// Of all logs on disk.
pub const ALL_BYTES_MAX: u64 = 4 << 30;
/// A new file is begun beyond this size.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Logs on disk, open or closed.
pub const LOGS_MAX: usize = 4096;
/// Of frames that wait for the disk: a quarter of a second at 64 MB/s.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How long a log waits for room in the queue before its lines become a gap. The next ones then wait no more until there is room.
pub const BACK_PRESSURE_MAX: Duration = Duration::from_secs(2);
/// With less free space on the disk nothing is taken: the journal needs the rest.
pub const FREE_BYTES_MIN: u64 = 320 << 20;
/// While lines go missing, this often at most a log says so on disk.
pub const GAP_INTERVAL: Duration = Duration::from_secs(1);

/// One permit of the queue, in bytes; a semaphore counts in `u32`.
const PERMIT_BYTES: usize = 1024;

/// The bounds of a spool; the defaults are the constants of this module.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub log_bytes_max: u64,
    pub all_bytes_max: u64,
    pub segment_bytes: u64,
    pub logs_max: usize,
    pub queue_bytes_max: usize,
    pub back_pressure_max: Duration,
    pub free_bytes_min: u64,
    pub gap_interval: Duration,
}

/// What is taken at present.
pub(super) struct Budget {
    pub limits: Limits,
    /// On disk and on the way there.
    used: AtomicU64,
    /// Those of `limits`, which may change while it runs.
    log_bytes_max: AtomicU64,
    all_bytes_max: AtomicU64,
    pub disk_is_full: AtomicBool,
    /// Room in the queue.
    pub queue: Arc<Semaphore>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes_max: LOG_BYTES_MAX,
            all_bytes_max: ALL_BYTES_MAX,
            segment_bytes: SEGMENT_BYTES,
            logs_max: LOGS_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            back_pressure_max: BACK_PRESSURE_MAX,
            free_bytes_min: FREE_BYTES_MIN,
            gap_interval: GAP_INTERVAL,
        }
    }
}

// === impl Budget ===

impl Budget {
    pub fn new(limits: Limits, used: u64) -> Self {
        let permits = (limits.queue_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            used: AtomicU64::new(used),
            log_bytes_max: AtomicU64::new(limits.log_bytes_max),
            all_bytes_max: AtomicU64::new(limits.all_bytes_max),
            disk_is_full: AtomicBool::new(false),
            queue: Arc::new(Semaphore::new(permits)),
        }
    }

    /// Permits that so many bytes need; never more than there are, so that anything fits into an empty queue.
    pub fn permits(&self, bytes: usize) -> u32 {
        let all = (self.limits.queue_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        u32::try_from(bytes.div_ceil(PERMIT_BYTES).min(all)).unwrap_or(u32::MAX)
    }

    /// Takes room for a line of a log that has `log_bytes`. `was_full`: its last line found no room; then some must have come free,
    /// so that lines and gaps do not alternate.
    pub fn take(&self, log_bytes: u64, bytes: u64, was_full: bool) -> Result<(), GapReason> {
        let all_bytes_max = self.all_bytes_max();
        if log_bytes + bytes > self.log_bytes_max.load(Ordering::Relaxed) {
            return Err(GapReason::LogFull);
        }
        if self.disk_is_full.load(Ordering::Relaxed) {
            return Err(GapReason::DiskFull);
        }
        let margin = if was_full { all_bytes_max / 16 } else { 0 };
        let take = |used: u64| (used + bytes + margin <= all_bytes_max).then_some(used + bytes);
        self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| GapReason::SpoolFull)
    }

    /// Takes room for what must be written, which is small: gaps.
    pub fn take_anyway(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts from the next line on; what is there already stays.
    pub fn bound(&self, log_bytes_max: u64, all_bytes_max: u64) {
        self.log_bytes_max.store(log_bytes_max, Ordering::Relaxed);
        self.all_bytes_max.store(all_bytes_max, Ordering::Relaxed);
    }

    pub fn all_bytes_max(&self) -> u64 {
        self.all_bytes_max.load(Ordering::Relaxed)
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}
