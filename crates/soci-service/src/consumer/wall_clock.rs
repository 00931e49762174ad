//! What time it is for people and on messages.

use std::time::SystemTime;

use tokio::time::Instant;

/// The clock of the system as it stood when the service started, going on by the clock that tests can
/// hold. A clock that is set while the service runs changes nothing here.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    started: (SystemTime, Instant),
}

impl WallClock {
    pub(super) fn start() -> Self {
        Self { started: (SystemTime::now(), Instant::now()) }
    }

    pub(super) fn now(&self) -> SystemTime {
        let (then, started) = self.started;
        then + started.elapsed()
    }
}
