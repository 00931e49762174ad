//! Whether a message can be received, for tests that look inside.

/// Whether a message can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It can.
    Visible,
    /// Somebody has it.
    InFlight,
    /// It was sent with a delay that is not over.
    Delayed,
}
