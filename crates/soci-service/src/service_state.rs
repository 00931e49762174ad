//! What the service is doing, in one word: page, `/status`, `/readyz`, metrics and log all have it from here.
//!
//! | state | when | takes work |
//! | --- | --- | --- |
//! | `draining` | it has been told to stop | no |
//! | `stuck` | the receive loop has stopped turning | no |
//! | `queue-unreachable` | the last receive from the live queue failed | no |
//! | `starting` | no queue has answered a receive yet | no |
//! | `registry-unreachable` | different images fail alike for what is of the registry | one job at a time, as a probe |
//! | `working` | a message is in hand | yes |
//! | `idle` | none of these | yes |
//!
//! The first line that is true counts: what keeps the service from working comes before what it has in
//! hand, as a worker whose queue is gone may well have jobs that run on.
//!
//! Two questions are answered from it, and they are not the same:
//!
//! - `/readyz` says whether the service takes work now: 200 in `working` and `idle`, else 503 with the
//!   state, since when and why. Nothing that is decided by it restarts anything.
//! - `/livez`, and the health check of a container, which asks the same on a socket of its own, say
//!   whether the process works: 503 in `stuck` alone. A restart mends a loop that hangs. It mends neither a
//!   queue nor a registry that is away, and would throw away what is in hand.

use serde::Serialize;

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// No queue has answered yet.
    Starting,
    /// It waits for messages.
    Idle,
    /// It works on at least one message.
    Working,
    /// The last receive from the live queue failed, so that no message comes.
    QueueUnreachable,
    /// The registry is away: one job at a time is tried.
    RegistryUnreachable,
    /// It has been told to stop and finishes what it can.
    Draining,
    /// The receive loop has stopped turning.
    Stuck,
}

impl ServiceState {
    /// Each of them, in the order in which they count.
    pub const ALL: [Self; 7] = [
        Self::Draining,
        Self::Stuck,
        Self::QueueUnreachable,
        Self::Starting,
        Self::RegistryUnreachable,
        Self::Working,
        Self::Idle,
    ];

    /// The first of which `holds` says that it is so; without one the service is idle.
    pub(crate) fn first(holds: impl Fn(Self) -> bool) -> Self {
        Self::ALL.into_iter().find(|state| holds(*state)).unwrap_or(Self::Idle)
    }

    /// Its word, as in `/status` and in the label of the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Working => "working",
            Self::QueueUnreachable => "queue-unreachable",
            Self::RegistryUnreachable => "registry-unreachable",
            Self::Draining => "draining",
            Self::Stuck => "stuck",
        }
    }

    /// Whether it takes work as it should.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Idle | Self::Working)
    }

    /// Whether the process works, whatever is around it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of what may be so, and the state that it makes.
    fn all() -> impl Iterator<Item = (Vec<ServiceState>, ServiceState)> {
        (0..1_u8 << 6).map(|bits| {
            let numbered = ServiceState::ALL.into_iter().enumerate();
            let so: Vec<_> =
                numbered.filter(|(n, _)| bits & (1 << n) != 0).map(|(_, s)| s).collect();
            let state = ServiceState::first(|state| so.contains(&state));
            (so, state)
        })
    }

    #[test]
    fn it_is_ready_only_where_nothing_keeps_it_from_taking_work() {
        for (so, state) in all() {
            let free = so.iter().all(|state| *state == ServiceState::Working);
            assert_eq!(state.is_ready(), free, "{so:?}");
        }
    }

    #[test]
    fn nothing_around_it_makes_a_process_dead() {
        for (so, state) in all() {
            let stuck = so.contains(&ServiceState::Stuck);
            let dead = stuck && !so.contains(&ServiceState::Draining);
            assert_eq!(state.is_live(), !dead, "{so:?}");
        }
    }

    #[test]
    fn a_state_is_written_as_its_word_and_each_can_be_reached() {
        for state in ServiceState::ALL {
            let written = serde_json::to_value(state).unwrap();
            assert_eq!(written, state.word());
            assert!(all().any(|(_, reached)| reached == state), "{state:?}");
        }
    }
}
