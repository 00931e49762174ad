//! What the fake remembers between requests.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use tokio::time::Instant;

use super::options::FakeAuth;
use super::quirk::{Effect, Quirk};
use super::request::{Asked, LoggedRequest};
use crate::context::Context;

/// What both servers of a fake share.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) context: Arc<Context>,
    pub(super) auth: FakeAuth,
    pub(super) address: SocketAddr,
    pub(super) storage: SocketAddr,
    state: Mutex<FakeState>,
    /// Where the content is; removed with the fake.
    _folder: TempDir,
}

/// What changes.
#[derive(Debug)]
pub(super) struct FakeState {
    /// The registry's habits. All that hit a request act.
    pub(super) habits: Vec<Quirk>,
    /// The names of those that have acted.
    pub(super) shown: BTreeSet<&'static str>,
    /// What a test has ordered, and how often each has acted. Of those that hit a request, the first
    /// acts.
    pub(super) ordered: Vec<(Quirk, usize)>,
    pub(super) log: Vec<LoggedRequest>,
    /// Scopes and ends by token.
    pub(super) tokens: HashMap<String, (String, Instant)>,
    pub(super) signatures: HashMap<String, Signature>,
    counter: u64,
}

/// What a URL of the storage is good for.
#[derive(Debug)]
pub(super) struct Signature {
    /// The path of the blob at the registry.
    pub(super) path: String,
    /// Uses left; `None` for any number.
    pub(super) left: Option<usize>,
}

impl Fake {
    pub(super) fn new(
        context: Context,
        auth: FakeAuth,
        habits: Vec<Quirk>,
        [address, storage]: [SocketAddr; 2],
        folder: TempDir,
    ) -> Self {
        let state = FakeState {
            habits,
            shown: BTreeSet::new(),
            ordered: Vec::new(),
            log: Vec::new(),
            tokens: HashMap::new(),
            signatures: HashMap::new(),
            counter: 0,
        };
        let (context, state) = (Arc::new(context), Mutex::new(state));
        Self { context, auth, address, storage, state, _folder: folder }
    }

    /// Not to be held over anything that waits.
    pub(super) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeState {
    /// What a test has ordered for this request, and what the registry's habits make of it.
    pub(super) fn effects(&mut self, asked: &Asked) -> (Option<Effect>, Vec<Effect>) {
        let ordered = self.ordered.iter_mut().find_map(|(quirk, acted)| {
            let effect = quirk.hit(asked)?.clone();
            *acted += 1;
            Some(effect)
        });
        let shown = &mut self.shown;
        let habits = self.habits.iter_mut().filter_map(|quirk| {
            let effect = quirk.hit(asked)?.clone();
            shown.insert(quirk.name);
            Some(effect)
        });
        (ordered, habits.collect())
    }

    /// A name that was not given before.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}", self.counter)
    }
}
