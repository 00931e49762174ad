//! How large the buffer is that output is written to. Fixed sizes let the compiler see that the loops stay in it.

#![expect(clippy::inline_always, reason = "the loops over symbols are made of these")]

/// Bytes of the buffer that output is written to.
pub(super) const CAPACITY: usize = 128 << 10;
/// Bytes of the buffer: chunks that are copied may be loaded from behind the end.
pub(super) const BUFFER: usize = CAPACITY + 64;
/// Decoding goes on as long as the output has come no further.
pub(super) const LAST_OUTPUT: usize = CAPACITY - OUTPUT_MARGIN;

/// The buffer.
pub(super) type Buffer<U> = [U; BUFFER];

/// What output is made of.
pub(crate) trait Unit: Copy + Default + From<u8> + 'static {
    /// Two bytes of output.
    fn pair(bytes: [u8; 2]) -> [Self; 2];
}

/// Bytes.
impl Unit for u8 {
    #[inline(always)]
    fn pair(bytes: [u8; 2]) -> [Self; 2] {
        bytes
    }
}

/// Bytes, or marks for bytes that are not known yet.
impl Unit for u16 {
    #[inline(always)]
    fn pair([first, second]: [u8; 2]) -> [Self; 2] {
        [first.into(), second.into()]
    }
}

/// Most that a round of the fast loop writes: literals, a match of 258 bytes and what is copied behind its end.
const OUTPUT_MARGIN: usize = 512;

/// An array that never is on the stack.
pub(super) fn boxed<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    // The vector has that length.
    vec![T::default(); N]
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([T::default(); N]))
}

// A round begins with this much room at least, and the buffer goes on behind what counts for chunks that are loaded there.
const _: () = assert!(
    LAST_OUTPUT + OUTPUT_MARGIN == CAPACITY
        && CAPACITY + 64 == BUFFER
        && CAPACITY.is_power_of_two()
);
