//! Chunks that are to be decoded, and the threads that do so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use soci_ztoc::Ahead;

use super::part::{CHUNK, Part};
use crate::cores::Room;

/// Output and marks of a chunk at most: of text that compresses to an eighth.
pub(super) const MOST_OUTPUT: usize = 12 * CHUNK;

/// What of a chunk was decoded ahead, and the room for it.
pub(crate) struct Decoded {
    /// Of nothing where it was not tried.
    pub(crate) ahead: Ahead,
    /// Taken where it was.
    pub(super) room: Option<Room>,
    /// Whether what was behind the chunk was known, so that it shows whether decoding was of use.
    pub(super) shows: bool,
}

impl Decoded {
    /// It was not tried. That takes no memory.
    pub(super) fn nothing() -> Self {
        Self { ahead: Ahead::new(MOST_OUTPUT), room: None, shows: false }
    }
}

/// A chunk to decode. Room and memory go with it, so that they are held as long as anybody works on it.
pub(crate) struct Job {
    offset: u64,
    chunk: Part,
    behind: Part,
    room: Room,
    done: SyncSender<Decoded>,
    state: Arc<JobState>,
}

/// What those who decode a chunk and who will read it say to each other.
#[derive(Default)]
struct JobState {
    is_begun: AtomicBool,
    /// What there is by then is enough.
    is_stopped: AtomicBool,
}

impl Job {
    /// One for the chunk that has `offset` bytes of the layer before it and `behind` behind it, and where what was decoded will come from.
    pub(super) fn new(offset: u64, chunk: Part, behind: Part, room: Room) -> (Self, Begun) {
        let (done, decoded) = sync_channel(1);
        let state = Arc::<JobState>::default();
        let begun = Begun { decoded, state: Arc::clone(&state) };
        (Self { offset, chunk, behind, room, done, state }, begun)
    }
}

/// Where what was decoded will come from.
pub(super) struct Begun {
    decoded: Receiver<Decoded>,
    state: Arc<JobState>,
}

impl Begun {
    /// What there is by now is enough.
    pub(super) fn stop(&self) {
        self.state.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a thread has come to it.
    pub(super) fn is_begun(&self) -> bool {
        self.state.is_begun.load(Ordering::Relaxed)
    }

    /// Waits so long for what was decoded, or however long it takes. Nothing if the thread ended in a panic.
    pub(super) fn wait(&self, answer: Option<Duration>) -> Option<Decoded> {
        match answer {
            None => self.decoded.recv().ok(),
            Some(answer) => self.decoded.recv_timeout(answer).ok(),
        }
    }
}

/// Where the threads get their work.
pub(crate) struct JobQueue {
    /// Nothing once a thread has ended in a panic.
    pub(super) jobs: Mutex<Option<Receiver<Job>>>,
    /// Whether nobody wants any more.
    stopped: AtomicBool,
    /// What was decoded into and is used again: no more than the layer has room for beside what is being decoded, and no more
    /// than were needed at once.
    used: Mutex<Vec<Ahead>>,
}

/// Takes all jobs away if the thread ends in a panic: whoever waits for one is told so.
struct IfItPanics<'a>(&'a JobQueue);

impl Drop for IfItPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl JobQueue {
    /// One with nothing in it, and what sends jobs to it.
    pub(crate) fn new() -> (Sender<Job>, Self) {
        let (jobs, receiver) = channel();
        let jobs_left = Mutex::new(Some(receiver));
        (jobs, Self { jobs: jobs_left, stopped: AtomicBool::new(false), used: Mutex::default() })
    }

    /// Nobody wants any more of it.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn used(&self) -> MutexGuard<'_, Vec<Ahead>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something to decode into: what was used last, which is in the cache and has memory.
    fn ahead(&self) -> Ahead {
        self.used().pop().unwrap_or_else(|| Ahead::new(MOST_OUTPUT))
    }

    /// Keeps it to be used again.
    pub(super) fn keep(&self, ahead: Ahead) {
        self.used().push(ahead);
    }

    /// Gives the memory back of so much of what is kept, as that much room is given back.
    pub(super) fn forget(&self, count: usize) {
        let mut used = self.used();
        let left = used.len().saturating_sub(count);
        used.truncate(left);
    }

    /// Works until there are no jobs and nobody is left who sends any.
    pub(super) fn work(&self) {
        let _guard = IfItPanics(self);
        loop {
            // The lock is held while waiting: whoever has it gets the next job.
            let job = {
                let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                jobs.as_ref().and_then(|jobs| jobs.recv().ok())
            };
            let Some(Job { offset, chunk, behind, room, done, state }) = job else { return };
            if self.stopped.load(Ordering::Relaxed) {
                continue;
            }
            let mut ahead = self.ahead();
            state.is_begun.store(true, Ordering::Relaxed);
            let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
            let stop = || is_set(&state.is_stopped) || is_set(&self.stopped);
            ahead.decode(offset, &chunk.bytes, &behind.bytes, stop);
            let shows = !behind.bytes.is_empty();
            // Given back before the room is, which may be all that others wait for.
            drop((chunk, behind));
            // Whoever stopped in the middle does not wait for it.
            let _ = done.send(Decoded { ahead, room: Some(room), shows });
        }
    }
}
