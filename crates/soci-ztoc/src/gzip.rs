//! Walks through a gzip layer that arrives in pieces: inflates it, follows its members, and takes
//! the checkpoints where the reference takes them.
//!
//! A checkpoint is a place at which inflating can begin with nothing in front of it: a bit of the
//! compressed bytes, and the 32 KiB of output before it, to which what follows may refer. Only the
//! start of a deflate block is such a place; in the middle of a block its Huffman codes would be
//! missing. zlib stops there if it is asked to (`Z_BLOCK`). It also stops behind the header of a
//! member, which is a boundary as good as any.
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
//! Asking zlib to stop at every block costs a good part of its speed. A boundary inside a span that
//! is not full decides nothing, so zlib gets room for just what the span still lacks and is asked to
//! stop only after that.
//!
//! The layer must also pass Go's gzip reader, which refuses members that zlib reads. Go stops
//! reading at the end of the archive, so what it refuses matters only before that.

mod member;

use crate::checkpoint::{CHECKPOINT_SIZE, Cut};
use crate::error::BuildError;
use crate::inflate::{Inflater, Status, Stop, Wrapper};
use crate::limits::LayerLimits;
use crate::members::GzipMembers;
use crate::toc::Kept;
use crate::{WINDOW_SIZE, tar::TarReader};
use member::{Behind, BehindMember, MemberHeader, Verdict};

/// Bytes inflated at most before the window is moved to the front of the buffer again. Large
/// enough to make the move rare, small enough to stay in the second-level cache.
const OUTPUT_SIZE: usize = 192 << 10;

/// The state of one layer. After an error it must not be used again.
#[derive(Debug)]
pub(crate) struct GzipScan {
    inflater: Inflater,
    /// The last 32 KiB of output before `end`, zeros where nothing was written yet, and room for
    /// more behind it. Like the reference's window it is not cleared between members.
    buffer: Box<[u8]>,
    end: usize,
    member: Member,
    /// Compressed bytes in front of the member.
    member_start: u64,
    /// Members that have ended.
    members: u64,
    allowed: GzipMembers,
    /// What comes behind the member before.
    behind: BehindMember,
    /// Why there is no ztoc, though the layer is read on: it may be broken besides.
    set_aside: Option<BuildError>,
    span_size: u64,
    /// Compressed bytes that zlib has taken.
    total_in: u64,
    /// Uncompressed bytes written.
    total_out: u64,
    /// Where the last checkpoint was taken, in uncompressed bytes.
    last_out: u64,
    limits: LayerLimits,
}

/// Where the layer is in its sequence of members.
#[derive(Debug)]
enum Member {
    /// Before the first.
    None,
    /// In one whose header is read or being read.
    Inside(MemberHeader),
    /// In one that Go does not read: fine as long as the archive has ended.
    Unreadable(&'static str),
    /// After one.
    Complete,
    /// After the last, in bytes that are no member.
    Trailing,
}

impl GzipScan {
    pub(crate) fn new(span_size: u64, allowed: GzipMembers, limits: LayerLimits) -> Self {
        Self {
            inflater: Inflater::new(Wrapper::Detect),
            buffer: vec![0; WINDOW_SIZE + OUTPUT_SIZE].into(),
            end: WINDOW_SIZE,
            member: Member::None,
            member_start: 0,
            members: 0,
            allowed,
            behind: BehindMember::default(),
            set_aside: None,
            span_size,
            total_in: 0,
            total_out: 0,
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
        mut input: &[u8],
        tar: &mut TarReader,
        kept: &mut Kept,
        cuts: &mut Vec<Cut>,
    ) -> Result<(), BuildError> {
        loop {
            match self.member {
                // A member begins with its first byte: without one the layer may have ended.
                Member::None | Member::Complete if input.is_empty() => return Ok(()),
                Member::None => self.member = Member::Inside(MemberHeader::new()),
                Member::Complete => {
                    self.inflater.reset(Wrapper::Detect);
                    self.behind = BehindMember::default();
                    self.member_start = self.total_in;
                    self.member = Member::Inside(MemberHeader::new());
                }
                Member::Trailing => return Ok(()),
                Member::Inside(_) | Member::Unreadable(_) => {}
            }
            if self.members > 0 {
                match self.behind.push(input) {
                    Behind::Member if self.allowed == GzipMembers::One => {
                        return Err(BuildError::SeveralMembers { offset: self.member_start });
                    }
                    Behind::NoMember => {
                        self.put_aside(BuildError::TrailingBytes { offset: self.member_start });
                        self.member = Member::Trailing;
                        return Ok(());
                    }
                    Behind::Member | Behind::Unknown => {}
                }
            }
            // zlib keeps a window of its own. This one is what checkpoints store.
            if self.end == self.buffer.len() {
                self.buffer.copy_within(self.end - WINDOW_SIZE.., 0);
                self.end = WINDOW_SIZE;
            }
            let (stop, room) = self.next_stop();
            let output = &mut self.buffer[self.end..self.end + room];
            let progress = self
                .inflater
                .inflate(input, output, stop)
                .map_err(|corrupt| BuildError::Gzip { offset: self.total_in, reason: corrupt.0 })?;
            let (taken, rest) = input.split_at(progress.consumed);
            // Before the archive gets what came out: whether it had ended counts as of now.
            self.look_at_header(taken, tar)?;
            let inflated = &self.buffer[self.end..self.end + progress.produced];
            if self.set_aside.is_none()
                && let Err(source) = tar.push(inflated, kept)
            {
                let error = BuildError::tar(source, tar, self.total_in);
                if !error.is_set_aside() {
                    return Err(error);
                }
                self.put_aside(error);
            }
            input = rest;
            self.end += progress.produced;
            self.total_in += progress.consumed as u64;
            self.total_out += progress.produced as u64;
            if self.total_out > self.limits.uncompressed_size {
                return Err(BuildError::TooLarge { limit: self.limits.uncompressed_size });
            }
            match progress.status {
                Status::End => {
                    self.member = Member::Complete;
                    self.members += 1;
                }
                Status::Boundary { bits } => self.take_checkpoint(bits, kept, cuts)?,
                Status::Continue => {
                    // With room left and no input zlib has said all. A full buffer says nothing: it
                    // may hold back more, even a boundary.
                    if input.is_empty() && progress.produced < room {
                        return Ok(());
                    }
                }
            }
        }
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
        match self.member {
            Member::Complete | Member::Trailing => {}
            // A single byte begins nothing.
            Member::Inside(_) | Member::Unreadable(_)
                if self.members > 0 && !self.behind.is_known() =>
            {
                self.put_aside(BuildError::TrailingBytes { offset: self.member_start });
            }
            _ => return Err(BuildError::Truncated { offset: self.total_in }),
        }
        self.set_aside.map_or(Ok(self.members), Err)
    }

    /// How far the next call of inflate may go. No boundary matters before the span is full, and
    /// not stopping there is a good part of the speed; the first one after that does, and so does
    /// every one before the first byte of output.
    fn next_stop(&self) -> (Stop, usize) {
        let free = self.buffer.len() - self.end;
        if self.set_aside.is_some() {
            return (Stop::AtEnd, free);
        }
        let done = self.total_out - self.last_out;
        if self.total_out == 0 || done >= self.span_size {
            return (Stop::AtBlock, free);
        }
        let left = usize::try_from(self.span_size - done).unwrap_or(usize::MAX);
        (Stop::AtEnd, free.min(left))
    }

    fn look_at_header(&mut self, taken: &[u8], tar: &TarReader) -> Result<(), BuildError> {
        if let Member::Inside(header) = &mut self.member
            && let Verdict::Bad(reason) = header.push(taken)
        {
            self.member = Member::Unreadable(reason);
        }
        match self.member {
            // A first byte alone does not tell whether there is a member at all.
            _ if self.members > 0 && !self.behind.is_known() => Ok(()),
            Member::Unreadable(reason) if !tar.ended() && self.set_aside.is_none() => {
                Err(BuildError::Gzip { offset: self.total_in, reason })
            }
            _ => Ok(()),
        }
    }

    fn take_checkpoint(
        &mut self,
        bits: u8,
        kept: &mut Kept,
        cuts: &mut Vec<Cut>,
    ) -> Result<(), BuildError> {
        if self.set_aside.is_some() {
            return Ok(());
        }
        // A span that is exactly full is not over, as the reference has it.
        if self.total_out != 0 && self.total_out - self.last_out <= self.span_size {
            return Ok(());
        }
        if kept.checkpoints.len() >= self.limits.checkpoints {
            return Err(BuildError::TooManySpans { limit: self.limits.checkpoints });
        }
        // The checkpoints alone would be too much: no need to read the rest of the layer first.
        let size = (kept.checkpoints.len() + 1) * CHECKPOINT_SIZE;
        if size > self.limits.ztoc_size {
            let limit = self.limits.ztoc_size;
            return Err(BuildError::ZtocTooLarge { size, limit, checkpoints: size });
        }
        // zlib may have taken whole bytes that belong to the next block; give them back.
        let cut = Cut { offset: self.total_in - u64::from(bits / 8), bits: bits % 8 };
        let window = &self.buffer[self.end - WINDOW_SIZE..self.end];
        kept.add_checkpoint(cut, self.total_out, window);
        self.last_out = self.total_out;
        cuts.push(cut);
        Ok(())
    }
}
