//! Reads FlatBuffers with every offset and length checked against the buffer.

/// The buffer is not what its schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A table in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    buffer: &'a [u8],
    start: usize,
    vtable: &'a [u8],
}

/// A vector of offsets in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets<'a> {
    buffer: &'a [u8],
    start: usize,
    len: usize,
}

impl<'a> Table<'a> {
    /// The root table of a buffer.
    pub(crate) fn root(buffer: &'a [u8]) -> Result<Self, Malformed> {
        Self::at(buffer, follow(buffer, 0)?)
    }

    fn at(buffer: &'a [u8], start: usize) -> Result<Self, Malformed> {
        let distance = i32::from_le_bytes(array(buffer, start)?);
        let start_signed = i64::try_from(start).map_err(|_| Malformed)?;
        let vtable = usize::try_from(start_signed - i64::from(distance)).map_err(|_| Malformed)?;
        let size = usize::from(u16::from_le_bytes(array(buffer, vtable)?));
        if size < 4 || size % 2 != 0 {
            return Err(Malformed);
        }
        let vtable = slice(buffer, vtable, size)?;
        Ok(Self { buffer, start, vtable })
    }

    /// Where a field is, unless it is absent.
    fn place(&self, field: usize) -> Option<usize> {
        let offset = array(self.vtable, 4 + 2 * field).map_or(0, u16::from_le_bytes);
        (offset != 0).then(|| self.start + usize::from(offset))
    }

    /// A scalar field, nothing if it is absent.
    pub(crate) fn scalar<const SIZE: usize>(
        &self,
        field: usize,
    ) -> Result<Option<[u8; SIZE]>, Malformed> {
        self.place(field).map(|place| array(self.buffer, place)).transpose()
    }

    /// A 64-bit field, zero if it is absent.
    pub(crate) fn i64(&self, field: usize) -> Result<i64, Malformed> {
        Ok(self.scalar(field)?.map_or(0, i64::from_le_bytes))
    }

    /// A table that a field refers to.
    pub(crate) fn table(&self, field: usize) -> Result<Self, Malformed> {
        let place = self.place(field).ok_or(Malformed)?;
        Self::at(self.buffer, follow(self.buffer, place)?)
    }

    /// The bytes of a string or byte vector, empty if it is absent.
    pub(crate) fn bytes(&self, field: usize) -> Result<&'a [u8], Malformed> {
        self.place(field).map_or(Ok(&[]), |place| bytes(self.buffer, place))
    }

    /// Where the bytes of a byte vector begin, be it beyond the end of a buffer that is cut off.
    pub(crate) fn bytes_start(&self, field: usize) -> Result<u64, Malformed> {
        let place = self.place(field).ok_or(Malformed)?;
        let offset = u32::from_le_bytes(array(self.buffer, place)?);
        Ok(place as u64 + u64::from(offset) + 4)
    }

    /// A vector of offsets, empty if it is absent.
    pub(crate) fn offsets(&self, field: usize) -> Result<Offsets<'a>, Malformed> {
        let buffer = self.buffer;
        let Some(place) = self.place(field) else {
            return Ok(Offsets { buffer, start: 0, len: 0 });
        };
        let vector = follow(buffer, place)?;
        let len = u32::from_le_bytes(array(buffer, vector)?) as usize;
        slice(buffer, vector + 4, len.checked_mul(4).ok_or(Malformed)?)?;
        Ok(Offsets { buffer, start: vector + 4, len })
    }
}

impl<'a> Offsets<'a> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The table that entry `index` refers to.
    pub(crate) fn table(&self, index: usize) -> Result<Table<'a>, Malformed> {
        Table::at(self.buffer, follow(self.buffer, self.place(index)?)?)
    }

    /// The string that entry `index` refers to.
    pub(crate) fn bytes(&self, index: usize) -> Result<&'a [u8], Malformed> {
        bytes(self.buffer, self.place(index)?)
    }

    fn place(&self, index: usize) -> Result<usize, Malformed> {
        if index < self.len { Ok(self.start + 4 * index) } else { Err(Malformed) }
    }
}

/// What the offset at `place` refers to: always further on in the buffer.
fn follow(buffer: &[u8], place: usize) -> Result<usize, Malformed> {
    let offset = u32::from_le_bytes(array(buffer, place)?) as usize;
    place.checked_add(offset).filter(|target| *target < buffer.len()).ok_or(Malformed)
}

fn bytes(buffer: &[u8], place: usize) -> Result<&[u8], Malformed> {
    let vector = follow(buffer, place)?;
    let len = u32::from_le_bytes(array(buffer, vector)?) as usize;
    slice(buffer, vector + 4, len)
}

fn array<const SIZE: usize>(buffer: &[u8], start: usize) -> Result<[u8; SIZE], Malformed> {
    slice(buffer, start, SIZE)?.try_into().map_err(|_| Malformed)
}

fn slice(buffer: &[u8], start: usize, len: usize) -> Result<&[u8], Malformed> {
    let end = start.checked_add(len).ok_or(Malformed)?;
    buffer.get(start..end).ok_or(Malformed)
}
