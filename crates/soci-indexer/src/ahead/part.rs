//! The parts that a layer is handed on in, and their memory.

use bytes::{Bytes, BytesMut};

use crate::cores::Held;

/// Bytes of a chunk at most. Smaller ones cost more, as each begins with output that is marked; larger ones take more memory.
pub(crate) const CHUNK: usize = if cfg!(test) { 64 << 10 } else { 2 << 20 };

/// Bytes of a layer, and what holds their memory, unless they are a piece as it came.
#[derive(Clone, Default)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(super) held: Option<Held>,
}

impl Part {
    /// A piece as it came.
    pub(crate) fn piece(bytes: Bytes) -> Self {
        Self { bytes, held: None }
    }
}

/// Where a chunk goes, and what holds its memory.
pub(super) struct Buffer {
    pub(super) bytes: BytesMut,
    pub(super) held: Held,
}

impl Buffer {
    pub(super) fn with_capacity(size: usize, held: Held) -> Self {
        Self { bytes: BytesMut::with_capacity(size), held }
    }

    /// That of a part which nobody has any more; otherwise the part.
    pub(super) fn of(part: Part) -> Result<Self, Part> {
        let Part { bytes, held: Some(held) } = part else { return Err(part) };
        match bytes.try_into_mut() {
            Ok(mut bytes) => {
                bytes.clear();
                Ok(Self { bytes, held })
            }
            Err(bytes) => Err(Part { bytes, held: Some(held) }),
        }
    }
}
