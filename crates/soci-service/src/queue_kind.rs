//! The queues of a service.

/// Which of the queues a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// What has just been pushed.
    Live,
    /// What events missed, worked on when there is room.
    Backfill,
}

/// A queue whose messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountedQueue {
    /// One that jobs are taken from.
    Of(QueueKind),
    /// That of the dead letters.
    DeadLetters,
}

impl CountedQueue {
    /// `live`, `backfill` or `dead-letters`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Of(kind) => kind.label(),
            Self::DeadLetters => "dead-letters",
        }
    }
}

impl QueueKind {
    /// `live` or `backfill`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backfill => "backfill",
        }
    }
}
