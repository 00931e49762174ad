//! What is kept for every open ticket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::watch::Ticket;

/// Something for each open ticket. Looking one up takes a lock that is shared with all other
/// look-ups; only opening and closing a ticket takes it alone, and never for longer than that.
#[derive(Debug)]
pub(crate) struct Tickets<T>(RwLock<HashMap<Ticket, Arc<T>>>);

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Tickets<T> {
    /// Opens a ticket.
    pub(crate) fn open(&self, ticket: Ticket, value: T) {
        // Nothing panics while it holds the lock, so a poisoned map would still be whole.
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(ticket, Arc::new(value));
    }

    /// What is kept for a ticket; `None` if it is not open.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&ticket).cloned()
    }

    /// Closes a ticket.
    pub(crate) fn close(&self, ticket: Ticket) -> Option<Arc<T>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&ticket)
    }

    /// Everything that is open, by ticket.
    pub(crate) fn all(&self) -> Vec<(Ticket, Arc<T>)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = map.iter().map(|(ticket, value)| (*ticket, value.clone())).collect();
        all.sort_unstable_by_key(|(ticket, _)| *ticket);
        all
    }
}
