//! What a task's protection can be, and how it is kept.

use std::fmt;
use std::time::Duration;

/// What a task is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Protected for this many minutes.
    Minutes(Minutes),
    /// Not protected.
    Released,
}

/// Minutes for which ECS can protect a task, 1 to 2,880 (Amazon ECS developer guide, "Task scale-in
/// protection endpoint").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minutes(pub(super) u16);

impl Minutes {
    /// The shortest protection.
    pub const MIN: Self = Self(1);
    /// The longest protection.
    pub const MAX: Self = Self(2880);

    /// So many minutes, or the nearest that ECS allows.
    pub fn new(minutes: u16) -> Self {
        Self(minutes.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// How a task is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// How long a protection lasts that is not renewed.
    pub lifetime: Minutes,
    /// How long the task stays protected after its last job, so that a pause between two jobs costs
    /// no call.
    pub linger: Duration,
    /// How long a task with jobs is protected in one go.
    pub longest: Duration,
    /// How long it then is not, so that a deployment that waits can stop it.
    pub pause: Duration,
    /// When a call that failed is made again.
    pub retry: Duration,
}

impl Default for ProtectionSettings {
    fn default() -> Self {
        Self {
            lifetime: Minutes(60),
            linger: Duration::from_secs(30),
            // CloudFormation gives up an update of a service after three hours.
            longest: Duration::from_hours(1),
            pause: Duration::from_mins(3),
            retry: Duration::from_secs(15),
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(minutes) => write!(f, "protected for {} minutes", minutes.get()),
            Self::Released => f.write_str("released"),
        }
    }
}
