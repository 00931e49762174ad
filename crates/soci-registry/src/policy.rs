//! What a caller may tune: retries, the download window, timeouts.

use std::time::Duration;

/// How often and how long a request that failed in passing is repeated.
///
/// The wait before try `n + 1` is drawn from the upper half of `base * 2^(n - 1)`, at most `cap`.
/// A `Retry-After` of the server replaces it, at most `retry_after_cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in a row without progress before giving up, the first one included; at least 1.
    pub tries: u32,
    /// Longest wait before the second try.
    pub base: Duration,
    /// Upper bound of every computed wait.
    pub cap: Duration,
    /// Upper bound of a wait that the server asks for.
    pub retry_after_cap: Duration,
    /// Time in all that one operation may spend without progress: waiting, failing, stalling.
    /// A byte that arrives resets the count of tries, unless its response turns out slower than
    /// [`Timeouts::min_download_rate`], but not this sum.
    pub total: Duration,
}

impl Default for RetryPolicy {
    /// 7 tries, 250 ms to 20 s apart, `Retry-After` up to 60 s, 5 minutes in all.
    fn default() -> Self {
        Self {
            tries: 7,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(20),
            retry_after_cap: Duration::from_mins(1),
            total: Duration::from_mins(5),
        }
    }
}

/// How a blob is split into ranged requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes per ranged request. A blob of at most this size is fetched by one plain request.
    pub part_size: u64,
    /// Most ranged requests at once per blob; 1 reads one part after the other. A reader begins with 8 of them,
    /// and has more where they make it quicker.
    pub parallel_parts: usize,
}

impl Transfer {
    /// Most bytes that one [`BlobReader`](crate::BlobReader) holds: a part that has been handed
    /// out makes room for the next one.
    pub fn window(&self) -> u64 {
        self.part_size.max(1).saturating_mul(self.parallel_parts.max(1) as u64)
    }
}

impl Default for Transfer {
    /// Up to 32 parts of 8 MiB: object stores give 20 to 100 MB/s per stream, several fill a link.
    fn default() -> Self {
        Self { part_size: 8 << 20, parallel_parts: 32 }
    }
}

/// How long the client waits for a server that says nothing or little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of a response after the request was sent.
    pub response: Duration,
    /// Between two pieces of a response body.
    pub stall: Duration,
    /// Slowest response body put up with, in bytes per second; 0 for any. It is measured over
    /// periods of `stall` in which the client waits for the network; time in which it waits for
    /// room in its window or for its caller does not count. A slower response ends as
    /// [`Error::TooSlow`](crate::Error::TooSlow).
    pub min_download_rate: u64,
    /// Slowest upload put up with, in bytes per second: an upload may take `response` plus its
    /// size divided by this.
    pub min_upload_rate: u64,
}

impl Timeouts {
    /// Time for the head of the response to a request with a body of `size` bytes.
    pub(crate) fn response_to(&self, size: u64) -> Duration {
        self.response + Duration::from_secs(size / self.min_upload_rate.max(1))
    }
}

impl Default for Timeouts {
    /// 10 s to connect, 60 s for a response, 30 s between pieces, 16 KiB/s down, 128 KiB/s up.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_mins(1),
            stall: Duration::from_secs(30),
            min_download_rate: 16 << 10,
            min_upload_rate: 128 << 10,
        }
    }
}
