//! The consumer on queues in memory, in time that is held.

mod announcing;
mod crashes;
mod drain;
mod endings;
mod flow;
mod heartbeat;
mod outages;
mod patience;
mod support;
mod telling;
mod waiting;
mod watching;
