//! For tests of what is logged.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

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
