//! Walks through a gzip layer that arrives in pieces: inflates it, follows its members, and takes
//! the checkpoints where the reference takes them.
//!
//! A checkpoint is a place at which inflating can begin with nothing in front of it: a bit of the
//! compressed bytes, and the 32 KiB of output before it, to which what follows may refer. Only the
//! start of a deflate block is such a place; in the middle of a block its Huffman codes would be
//! missing. The place behind the header of a member is a boundary as good as any.
//!
//! `gzip_zinfo.c` takes a checkpoint at each boundary that is not the end of a member's last block,
//! provided that nothing has been written yet, or that more than a span's size has been since the
//! last checkpoint. All that follows from these two conditions shows in a ztoc's digest and is kept:
//!
//! - every empty block and every empty member in front of the first output adds a checkpoint;
//! - a span that is exactly full is not over, so it goes on to the next boundary;
//! - every span but the last is longer than asked for, by what was left of its last block;
//! - a checkpoint behind a later member's header has the window of the member before.
//!
//! The layer must also pass Go's gzip reader, which refuses members that zlib reads. Go stops
//! reading at the end of the archive, so what it refuses matters only before that.

mod member;
mod stream;

use crate::WINDOW_SIZE;
use crate::ahead::Ahead;
use crate::checkpoint::{CHECKPOINT_SIZE, Cut};
use crate::error::BuildError;
use crate::inflate::Corrupt;
use crate::limits::LayerLimits;
use crate::members::GzipMembers;
use crate::tar::{TarError, TarReader};
use crate::toc::Kept;

pub(crate) use stream::{GzipStream, Step};

/// The state of one layer. After an error it must not be used again.
#[derive(Debug)]
pub(crate) struct GzipScan {
    stream: GzipStream,
    /// Compressed bytes in front of the member.
    member_start: u64,
    /// Members that have ended.
    members: u64,
    allowed: GzipMembers,
    /// Bytes of no member were found behind the last one.
    trailing: bool,
    /// Why there is no ztoc, though the layer is read on: it may be broken besides.
    set_aside: Option<BuildError>,
    span_size: u64,
    /// Where the last checkpoint was taken, in uncompressed bytes.
    last_out: u64,
    limits: LayerLimits,
}

impl GzipScan {
    pub(crate) fn new(span_size: u64, allowed: GzipMembers, limits: LayerLimits) -> Self {
        Self {
            stream: GzipStream::new(),
            member_start: 0,
            members: 0,
            allowed,
            trailing: false,
            set_aside: None,
            span_size,
            last_out: 0,
            limits,
        }
    }

    /// Takes the next compressed bytes, hands what they inflate to `tar`, keeps the checkpoints among
    /// them and notes where they are in `cuts`.
    ///
    /// Everything that these bytes decide is decided when this returns, so the next checkpoint
    /// lies behind them and the result does not depend on how the layer was cut into pieces.
    ///
    /// Once an error is [set aside](Self::set_aside), only the gzip stream is looked at.
    pub(crate) fn push(
        &mut self,
        input: &[u8],
        tar: &mut TarReader,
        kept: &mut Kept,
        cuts: &mut Vec<Cut>,
    ) -> Result<(), BuildError> {
        self.push_to(u64::MAX, input, tar, kept, cuts).map(|_| ())
    }

    /// The same up to the first boundary of blocks from bit `bit` of the layer on. Says how many bytes were taken: all, if it is
    /// not reached.
    pub(crate) fn push_to(
        &mut self,
        bit: u64,
        input: &[u8],
        tar: &mut TarReader,
        kept: &mut Kept,
        cuts: &mut Vec<Cut>,
    ) -> Result<usize, BuildError> {
        let mut rest = input;
        while !self.trailing {
            let stop_at = if bit == u64::MAX { self.stop_at() } else { 0 };
            let (taken, step) = match self.stream.step(rest, stop_at) {
                Ok(went) => went,
                Err(corrupt) => return self.refuse(corrupt).map(|()| input.len()),
            };
            rest = &rest[taken..];
            self.look_at_header(tar)?;
            self.read_archive(tar, kept)?;
            match step {
                Step::Begun | Step::Boundary => {
                    let (position, out) = (self.stream.bit_position(), self.stream.total_out());
                    if self.is_checkpoint(out) {
                        let cut = self.checkpoint(kept, position, out)?;
                        kept.add_checkpoint(cut, out, self.stream.window());
                        cuts.push(cut);
                    }
                    let taken = input.len() - rest.len();
                    if position >= bit
                        && let Some(back) = self.stream.give_back(taken)
                    {
                        return Ok(taken - back);
                    }
                }
                Step::Ended => {
                    self.members += 1;
                    self.member_start = self.position();
                }
                Step::NeedsInput if rest.is_empty() => break,
                Step::NeedsInput | Step::Went => {}
            }
        }
        Ok(input.len())
    }

    /// Takes a piece that was decoded ahead in the place of the bytes it was decoded from, if the layer is read up to where it
    /// begins. Does with it what [`GzipScan::push`] would do.
    pub(crate) fn push_ahead(
        &mut self,
        piece: &mut Ahead,
        tar: &mut TarReader,
        kept: &mut Kept,
        cuts: &mut Vec<Cut>,
    ) -> Result<bool, BuildError> {
        let before = self.stream.total_out();
        let fits =
            before.saturating_add(piece.bytes().len() as u64) <= self.limits.uncompressed_size;
        if self.trailing
            || piece.end().is_none()
            || !fits
            || !self.stream.may_skip_from(piece.start())
        {
            return Ok(false);
        }
        let crc = piece.resolve(self.stream.window());
        let bytes = piece.bytes();
        let mut read = 0;
        for place in piece.places() {
            if self.set_aside.is_none() {
                let went = tar.push(&bytes[read..place.out], kept);
                self.archive_went(went, place.bit.div_ceil(8), tar)?;
            }
            read = place.out;
            let out = before + place.out as u64;
            if self.is_checkpoint(out) {
                let cut = self.checkpoint(kept, place.bit, out)?;
                if let Some(from) = place.out.checked_sub(WINDOW_SIZE) {
                    kept.add_checkpoint(cut, out, &bytes[from..place.out]);
                } else {
                    let window = [&self.stream.window()[place.out..], &bytes[..place.out]].concat();
                    kept.add_checkpoint(cut, out, &window);
                }
                cuts.push(cut);
            }
        }
        self.stream.skip(piece, &crc);
        Ok(true)
    }

    /// Blocks with codes of their own so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.stream.blocks()
    }

    /// Why there will be no ztoc whatever comes, if it is known by now.
    pub(crate) fn set_aside(&self) -> Option<&BuildError> {
        self.set_aside.as_ref()
    }

    /// The first reason stands for all.
    fn put_aside(&mut self, error: BuildError) {
        self.set_aside.get_or_insert(error);
    }

    /// The layer has ended, and has so many members. Fails if it was cut short.
    pub(crate) fn finish(mut self) -> Result<u64, BuildError> {
        if self.members == 0 || self.stream.header().is_begun() {
            return Err(BuildError::Truncated { offset: self.position() });
        }
        // A single byte begins nothing.
        if self.position() > self.member_start {
            self.put_aside(BuildError::TrailingBytes { offset: self.member_start });
        }
        self.set_aside.map_or(Ok(self.members), Err)
    }

    /// Compressed bytes so far that mean something.
    fn position(&self) -> u64 {
        self.stream.bit_position().div_ceil(8)
    }

    /// The stream is not valid. What does not even begin a member, behind one, is set aside.
    fn refuse(&mut self, corrupt: Corrupt) -> Result<(), BuildError> {
        if self.members > 0 {
            if !self.stream.header().is_begun() {
                self.put_aside(BuildError::TrailingBytes { offset: self.member_start });
                self.trailing = true;
                return Ok(());
            }
            if self.allowed == GzipMembers::One {
                return Err(BuildError::SeveralMembers { offset: self.member_start });
            }
        }
        Err(BuildError::Gzip { offset: self.position(), reason: corrupt.0 })
    }

    /// From how many bytes of output on a boundary matters: from the first one before any output, then from the first one
    /// behind a full span.
    fn stop_at(&self) -> u64 {
        if self.set_aside.is_some() {
            u64::MAX
        } else if self.stream.total_out() == 0 {
            0
        } else {
            self.last_out.saturating_add(self.span_size).saturating_add(1)
        }
    }

    /// Hands what was inflated to the archive.
    fn read_archive(&mut self, tar: &mut TarReader, kept: &mut Kept) -> Result<(), BuildError> {
        if self.set_aside.is_none() {
            let read = tar.push(self.stream.output(), kept);
            self.archive_went(read, self.position(), tar)?;
        }
        if self.stream.total_out() > self.limits.uncompressed_size {
            return Err(BuildError::TooLarge { limit: self.limits.uncompressed_size });
        }
        Ok(())
    }

    /// What the archive says to what comes from the `position` bytes of the layer: some errors are set aside.
    fn archive_went(
        &mut self,
        read: Result<(), TarError>,
        position: u64,
        tar: &TarReader,
    ) -> Result<(), BuildError> {
        let Err(source) = read else { return Ok(()) };
        let error = BuildError::tar(source, tar, position);
        if !error.is_set_aside() {
            return Err(error);
        }
        self.put_aside(error);
        Ok(())
    }

    fn look_at_header(&mut self, tar: &TarReader) -> Result<(), BuildError> {
        let header = self.stream.header();
        if self.members > 0 {
            // A first byte alone does not tell whether there is a member at all.
            if !header.is_begun() {
                return Ok(());
            }
            if self.allowed == GzipMembers::One {
                return Err(BuildError::SeveralMembers { offset: self.member_start });
            }
        }
        match header.unreadable() {
            Some(reason) if !tar.ended() && self.set_aside.is_none() => {
                Err(BuildError::Gzip { offset: self.position(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Whether a checkpoint is taken at a boundary with so much output before it.
    fn is_checkpoint(&self, total_out: u64) -> bool {
        // A span that is exactly full is not over, as the reference has it.
        self.set_aside.is_none() && (total_out == 0 || total_out - self.last_out > self.span_size)
    }

    /// The checkpoint at bit `position`, if there may be another one.
    fn checkpoint(
        &mut self,
        kept: &Kept,
        position: u64,
        total_out: u64,
    ) -> Result<Cut, BuildError> {
        if kept.checkpoints.len() >= self.limits.checkpoints {
            return Err(BuildError::TooManySpans { limit: self.limits.checkpoints });
        }
        // The checkpoints alone would be too much: no need to read the rest of the layer first.
        let size = (kept.checkpoints.len() + 1) * CHECKPOINT_SIZE;
        if size > self.limits.ztoc_size {
            let limit = self.limits.ztoc_size;
            return Err(BuildError::ZtocTooLarge { size, limit, checkpoints: size });
        }
        let offset = position.div_ceil(8);
        let bits = (offset * 8 - position).to_le_bytes()[0];
        self.last_out = total_out;
        Ok(Cut { offset, bits })
    }
}
