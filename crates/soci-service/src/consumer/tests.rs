//! The consumer on queues in memory, in time that is held.

mod drain;
mod endings;
mod flow;
mod heartbeat;
mod support;
mod telling;
