//! For tests of what is logged.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Sees that every place that logs is asked about.
///
/// Whether a place logs at all is decided when it is first passed, for all threads. While there is one subscriber in the
/// process, only the thread that passes it is asked; if that is another test's and has none, the answer is never. With
/// another one that lives on, all are asked.
static ANOTHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Gives what this thread logs to `subscriber` until the guard is dropped, whatever other tests do meanwhile.
#[must_use]
pub fn caught_by<S: Subscriber + Send + Sync + 'static>(subscriber: S) -> DefaultGuard {
    LazyLock::force(&ANOTHER);
    tracing::subscriber::set_default(subscriber)
}

/// Takes what a layer writes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct WrittenLines(Arc<Mutex<Vec<u8>>>);

impl WrittenLines {
    /// Everything that was written so far; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for WrittenLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for WrittenLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
