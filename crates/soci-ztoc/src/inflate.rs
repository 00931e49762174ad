//! A safe face on zlib's streaming inflate, the one file of this crate with `unsafe` code.
//!
//! zlib-rs is used through its zlib-compatible interface because that is the only one that stops
//! at deflate block boundaries (`Z_BLOCK`) and tells the bit position there (`data_type`).
//! Source: the zlib manual, `inflate()`, and RFC 1951 and 1952.
//!
//! What is promised to the rest of the crate: no pointer outlives the call that it was made for, no
//! length is passed on that 32 bits do not hold, and a call never reads or writes outside the slices
//! it got. So an [`Inflater`] can be moved, sent to another thread and dropped like any value.
//!
//! zlib counts bits where this crate counts bytes. It takes whole bytes and may have taken more of
//! them than it has decoded. At a boundary `data_type` tells by how many bits, and a checkpoint goes
//! back by that many. Entering at a checkpoint is the reverse: the bits of the shared byte are given
//! first (`inflatePrime`), then the window (`inflateSetDictionary`), then whole bytes.
#![allow(unsafe_code, reason = "zlib's interface takes raw pointers; every use is in this file")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "zlib counts in 32 bits; every length is bounded before it is passed on"
)]

use std::ffi::{CStr, c_int};

use libz_rs_sys as z;

/// What surrounds the deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapper {
    /// A gzip member or a zlib stream, told apart by its first bytes, checksums verified.
    Detect,
    /// Nothing: raw deflate, entered at a checkpoint.
    Raw,
}

impl Wrapper {
    /// zlib's `windowBits`: 15 bits of window, plus 32 to detect the wrapper, negative for raw.
    const fn window_bits(self) -> c_int {
        match self {
            Self::Detect => 15 + 32,
            Self::Raw => -15,
        }
    }
}

/// Where a call of [`Inflater::inflate`] stops before its buffers are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At every deflate block boundary and after every header.
    AtBlock,
    /// Only at the end of the stream.
    AtEnd,
}

/// Why a call of [`Inflater::inflate`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Input or output is used up.
    Continue,
    /// The next unread bit begins a block. `bits` of the bits already consumed from the input
    /// belong to it (zlib may hold more than seven).
    Boundary {
        /// Bits consumed from the input that are not decoded yet.
        bits: u8,
    },
    /// The stream is complete and its checksums are right.
    End,
}

/// What a call of [`Inflater::inflate`] did. Invariant: `consumed <= input.len()` and
/// `produced <= output.len()`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) consumed: usize,
    pub(crate) produced: usize,
    pub(crate) status: Status,
}

/// The stream is not valid; the text is zlib's own description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// The state of one inflate stream.
pub(crate) struct Inflater {
    /// Boxed so that its address never changes, as zlib requires.
    stream: Box<z::z_stream>,
}

// SAFETY: the stream owns its state exclusively and zlib-rs keeps nothing per thread.
unsafe impl Send for Inflater {}

impl Inflater {
    pub(crate) fn new(wrapper: Wrapper) -> Self {
        let mut stream = Box::<z::z_stream>::default();
        // zlib compares version and size with its own, to find a header of another version.
        // SAFETY: `stream` is a valid default z_stream whose null allocators select zlib-rs's own.
        let code = unsafe {
            z::inflateInit2_(
                &raw mut *stream,
                wrapper.window_bits(),
                z::zlibVersion(),
                size_of::<z::z_stream>() as c_int,
            )
        };
        // Version and size are the library's own and the window bits are constants, so only
        // memory can be missing. Everything else in Rust ends the program then as well.
        assert_eq!(code, z::Z_OK, "zlib cannot allocate its state");
        Self { stream }
    }

    /// Starts a new stream and forgets everything of the one before, its window included.
    pub(crate) fn reset(&mut self, wrapper: Wrapper) {
        // SAFETY: `stream` has been initialised by `new`.
        let code = unsafe { z::inflateReset2(&raw mut *self.stream, wrapper.window_bits()) };
        // The stream is initialised and the window bits are constants, the only things it checks.
        assert_eq!(code, z::Z_OK, "zlib refuses to reset a valid stream");
    }

    /// Enters a raw stream in the middle: `window` is what came before, and the low `bits` bits
    /// of `value` (at most seven) are the first of the stream.
    pub(crate) fn enter(&mut self, window: &[u8], bits: u8, value: u8) {
        debug_assert!(bits < 8 && window.len() <= crate::WINDOW_SIZE);
        self.reset(Wrapper::Raw);
        // Neither call can fail: the stream is raw and was just reset.
        // SAFETY: `stream` is initialised, and `window` outlives the call, which copies it. The
        // length is at most 32 KiB and so fits.
        unsafe {
            if bits > 0 {
                z::inflatePrime(&raw mut *self.stream, c_int::from(bits), c_int::from(value));
            }
            z::inflateSetDictionary(
                &raw mut *self.stream,
                window.as_ptr(),
                window.len() as z::uInt,
            );
        }
    }

    /// Inflates from the start of `input` to the start of `output`.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Progress, Corrupt> {
        // Both counters are 32 bits wide in zlib; what is beyond them is for the next call.
        let input = &input[..input.len().min(1 << 30)];
        let room = output.len().min(1 << 30);
        let stream = &mut *self.stream;
        stream.next_in = input.as_ptr();
        stream.avail_in = input.len() as z::uInt;
        stream.next_out = output.as_mut_ptr();
        stream.avail_out = room as z::uInt;
        let flush = match stop {
            Stop::AtBlock => z::Z_BLOCK,
            Stop::AtEnd => z::Z_NO_FLUSH,
        };
        // SAFETY: `stream` is initialised; next_in and next_out point to avail_in readable and
        // avail_out initialised, writable bytes that nothing else uses during the call.
        let code = unsafe { z::inflate(&raw mut *stream, flush) };
        let consumed = input.len() - stream.avail_in as usize;
        let produced = room - stream.avail_out as usize;
        // No pointer into the caller's buffers is left behind.
        stream.next_in = std::ptr::null_mut();
        stream.next_out = std::ptr::null_mut();
        stream.avail_in = 0;
        stream.avail_out = 0;
        let status = match code {
            z::Z_STREAM_END => Status::End,
            // A buffer error only says that nothing could be done with what was given.
            z::Z_OK | z::Z_BUF_ERROR => boundary(stream.data_type),
            z::Z_NEED_DICT => return Err(Corrupt("a preset dictionary is needed")),
            _ => {
                // zlib-rs may have put this in the place of what it found.
                let reason = match message(stream.msg) {
                    "repeated call with bad state" => "the deflate data is not valid",
                    reason => reason,
                };
                return Err(Corrupt(reason));
            }
        };
        Ok(Progress { consumed, produced, status })
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: `stream` was initialised by `new` and is not used again.
        unsafe {
            z::inflateEnd(&raw mut *self.stream);
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}

/// Reads zlib's `data_type`: bits 0-5 count unused bits, 64 marks the last block, 128 a boundary.
/// The end of a last block is none at which inflating could go on: a trailer follows.
fn boundary(data_type: c_int) -> Status {
    if data_type & 128 != 0 && data_type & 64 == 0 {
        Status::Boundary { bits: (data_type & 63) as u8 }
    } else {
        Status::Continue
    }
}

fn message(text: *const std::ffi::c_char) -> &'static str {
    if text.is_null() {
        return "invalid data";
    }
    // SAFETY: zlib-rs sets `msg` to a NUL-terminated string literal only.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("invalid data")
}
