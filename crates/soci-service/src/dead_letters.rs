//! Dead letters as things: what one says ([`Letter`]), which ones are meant ([`Selection`]), and how a queue of
//! them is looked through ([`Walk`]).
//!
//! A letter says why it is there in attributes ([`soci_queue::DeadLetter`]). One that the queue itself moved, as it
//! was received too often, has none of these; what is known of it is what its last try left on it
//! ([`soci_queue::JobHistory`]). Both kinds are read here, and nowhere else.

mod letter;
mod selection;
mod walk;

pub use letter::{Letter, again};
pub use selection::{ImagePattern, ImagePatternError, Selection};
pub use walk::Walk;
