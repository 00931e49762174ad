//! Walks through a gzip layer that arrives in pieces: inflates it, follows its members, and takes
//! the checkpoints where the reference takes them.

mod member;

use crate::checkpoint::{CHECKPOINT_SIZE, Checkpoints, Cut};
use crate::error::BuildError;
use crate::inflate::{Inflater, Status, Stop, Wrapper};
use crate::limits::Limits;
use crate::{WINDOW_SIZE, tar::TarReader};
use member::{MemberHeader, Verdict};

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
    span_size: u64,
    /// Compressed bytes that zlib has taken.
    total_in: u64,
    /// Uncompressed bytes written.
    total_out: u64,
    /// Where the last checkpoint was taken, in uncompressed bytes.
    last_out: u64,
    checkpoints: Checkpoints,
    limits: Limits,
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
}

impl GzipScan {
    pub(crate) fn new(span_size: u64, limits: Limits) -> Self {
        Self {
            inflater: Inflater::new(Wrapper::Detect),
            buffer: vec![0; WINDOW_SIZE + OUTPUT_SIZE].into(),
            end: WINDOW_SIZE,
            member: Member::None,
            span_size,
            total_in: 0,
            total_out: 0,
            last_out: 0,
            checkpoints: Checkpoints::new(span_size),
            limits,
        }
    }

    /// Takes the next compressed bytes, hands what they inflate to `tar`, and notes the
    /// checkpoints among them in `cuts`.
    ///
    /// Everything that these bytes decide is decided when this returns, so the next checkpoint
    /// lies behind them and the result does not depend on how the layer was cut into pieces.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        tar: &mut TarReader,
        cuts: &mut Vec<Cut>,
    ) -> Result<(), BuildError> {
        loop {
            match self.member {
                Member::None | Member::Complete if input.is_empty() => return Ok(()),
                Member::None => self.member = Member::Inside(MemberHeader::new()),
                Member::Complete => {
                    self.inflater.reset(Wrapper::Detect);
                    self.member = Member::Inside(MemberHeader::new());
                }
                Member::Inside(_) | Member::Unreadable(_) => {}
            }
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
            self.look_at_header(taken, tar)?;
            let inflated = &self.buffer[self.end..self.end + progress.produced];
            tar.push(inflated).map_err(|source| BuildError::tar(source, tar, self.total_in))?;
            input = rest;
            self.end += progress.produced;
            self.total_in += progress.consumed as u64;
            self.total_out += progress.produced as u64;
            if self.total_out > self.limits.uncompressed_size {
                return Err(BuildError::TooLarge { limit: self.limits.uncompressed_size });
            }
            match progress.status {
                Status::End => self.member = Member::Complete,
                Status::Boundary { bits } => self.take_checkpoint(bits, cuts)?,
                Status::Continue => {
                    if input.is_empty() && progress.produced < room {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The layer has ended. Fails if it was cut short.
    pub(crate) fn finish(self) -> Result<Checkpoints, BuildError> {
        match self.member {
            Member::Complete => Ok(self.checkpoints),
            _ => Err(BuildError::Truncated { offset: self.total_in }),
        }
    }

    /// How far the next call of inflate may go. No boundary matters before the span is full, and
    /// not stopping there is a good part of the speed; the first one after that does, and so does
    /// every one before the first byte of output.
    fn next_stop(&self) -> (Stop, usize) {
        let free = self.buffer.len() - self.end;
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
            Member::Unreadable(reason) if !tar.ended() => {
                Err(BuildError::Gzip { offset: self.total_in, reason })
            }
            _ => Ok(()),
        }
    }

    fn take_checkpoint(&mut self, bits: u8, cuts: &mut Vec<Cut>) -> Result<(), BuildError> {
        if self.total_out != 0 && self.total_out - self.last_out <= self.span_size {
            return Ok(());
        }
        if self.checkpoints.len() >= self.limits.checkpoints {
            return Err(BuildError::TooManySpans { limit: self.limits.checkpoints });
        }
        let size = (self.checkpoints.len() + 1) * CHECKPOINT_SIZE;
        if size > self.limits.ztoc_size {
            return Err(BuildError::ZtocTooLarge { size, limit: self.limits.ztoc_size });
        }
        // zlib may have taken whole bytes that belong to the next block; give them back.
        let cut = Cut { offset: self.total_in - u64::from(bits / 8), bits: bits % 8 };
        let window = &self.buffer[self.end - WINDOW_SIZE..self.end];
        self.checkpoints.push(cut, self.total_out, window);
        self.last_out = self.total_out;
        cuts.push(cut);
        Ok(())
    }
}
