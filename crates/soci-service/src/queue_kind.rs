//! The two queues of a service.

/// Which of the queues a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// What has just been pushed.
    Live,
    /// What events missed, worked on when there is room.
    Backfill,
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
