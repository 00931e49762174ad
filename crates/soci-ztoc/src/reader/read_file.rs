//! Reads one file into memory, for callers that want no loop of their own.

use std::ops::Range;

use super::{Entry, ExtractError, Extraction, FetchError, Reader};

impl<B: AsRef<[u8]>> Reader<B> {
    /// Reads the data of `entry` into memory, following hard links. `fetch` returns the compressed bytes of
    /// the layer in a range: one call for each span that the data lies in, in order, never for an empty
    /// range. Each span is verified before anything of it is used.
    ///
    /// `limit` is the most bytes that are returned; a larger file fails before anything is fetched. How long a
    /// range is depends on the ztoc, which may be anyone's: with the reference's span size some 4 MiB, at most
    /// the layer. `fetch` refuses what is too long for it.
    ///
    /// [`Reader::extract`] passes the data on in pieces instead, [`Reader::read_file_async`] waits for a future.
    ///
    /// # Errors
    /// [`FetchError::Fetch`] with the first error of `fetch`. [`FetchError::Extract`] if the entry is no file,
    /// is too large, or what was fetched is not what the ztoc describes.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use soci_ztoc::{Compression, Reader, Ztoc, ZtocSettings};
    /// # let mut header = tar::Header::new_gnu();
    /// # header.set_size(6);
    /// # let mut archive = tar::Builder::new(Vec::new());
    /// # archive.append_data(&mut header, "etc/hostname", &b"tower\n"[..])?;
    /// # let bytes = archive.into_inner()?;
    /// # let settings = ZtocSettings::new(Compression::Uncompressed, "my-tool 1.0");
    /// # let ztoc = Ztoc::build(&bytes[..], settings)?;
    /// # let reader = Reader::from_bytes(ztoc.encoded.to_vec())?;
    /// # let mut layer = std::io::Cursor::new(bytes);
    /// use std::io::{self, Read, Seek, SeekFrom};
    ///
    /// let entry = reader.find("etc/hostname").ok_or("no such file")?;
    /// let content = reader.read_file(&entry, 1 << 20, |range| {
    ///     let mut bytes = Vec::new();
    ///     layer.seek(SeekFrom::Start(range.start))?;
    ///     Read::by_ref(&mut layer).take(range.end - range.start).read_to_end(&mut bytes)?;
    ///     Ok::<_, io::Error>(bytes)
    /// })?;
    /// assert_eq!(content, b"tower\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_file<E, F: AsRef<[u8]>>(
        &self,
        entry: &Entry<'_>,
        limit: u64,
        mut fetch: impl FnMut(Range<u64>) -> Result<F, E>,
    ) -> Result<Vec<u8>, FetchError<E>> {
        let mut file = Content::begin(self, entry, limit)?;
        while let Some(range) = file.next_range()? {
            let bytes = fetch(range).map_err(FetchError::Fetch)?;
            file.push(bytes.as_ref())?;
        }
        Ok(file.finish()?)
    }

    /// The same with a `fetch` that returns a future. It needs no runtime: the future does nothing but wait for
    /// those of `fetch`, one at a time, and inflate in between. It may be dropped at any time, and is [`Send`] if
    /// `fetch`, its futures and the reader allow it.
    ///
    /// # Errors
    /// As [`Reader::read_file`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use std::ops::Range;
    ///
    /// use soci_ztoc::{Compression, FetchError, Reader, Ztoc, ZtocSettings};
    ///
    /// /// A layer behind a network.
    /// struct Remote(Vec<u8>);
    ///
    /// impl Remote {
    ///     /// Here stands a GET with the header `Range: bytes=START-LAST`, where LAST is `range.end - 1`.
    ///     async fn get(&self, range: Range<u64>) -> Result<Vec<u8>, Infallible> {
    ///         Ok(self.0[range.start as usize..range.end as usize].to_vec())
    ///     }
    /// }
    ///
    /// async fn hostname(
    ///     reader: &Reader<Vec<u8>>,
    ///     layer: &Remote,
    /// ) -> Result<Option<Vec<u8>>, FetchError<Infallible>> {
    ///     let Some(entry) = reader.find("etc/hostname") else { return Ok(None) };
    ///     reader.read_file_async(&entry, 1 << 20, |range| layer.get(range)).await.map(Some)
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut header = tar::Header::new_gnu();
    /// # header.set_size(6);
    /// # let mut archive = tar::Builder::new(Vec::new());
    /// # archive.append_data(&mut header, "etc/hostname", &b"tower\n"[..])?;
    /// # let layer = Remote(archive.into_inner()?);
    /// # let settings = ZtocSettings::new(Compression::Uncompressed, "my-tool 1.0");
    /// # let ztoc = Ztoc::build(&layer.0[..], settings)?;
    /// # let reader = Reader::from_bytes(ztoc.encoded.to_vec())?;
    /// # let future = std::pin::pin!(hostname(&reader, &layer));
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # let std::task::Poll::Ready(content) = future.poll(&mut context) else { panic!("it waits") };
    /// # assert_eq!(content?.as_deref(), Some(&b"tower\n"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_file_async<E, F, Fut>(
        &self,
        entry: &Entry<'_>,
        limit: u64,
        mut fetch: impl FnMut(Range<u64>) -> Fut,
    ) -> Result<Vec<u8>, FetchError<E>>
    where
        F: AsRef<[u8]>,
        Fut: Future<Output = Result<F, E>>,
    {
        let mut file = Content::begin(self, entry, limit)?;
        while let Some(range) = file.next_range()? {
            let bytes = fetch(range).await.map_err(FetchError::Fetch)?;
            file.push(bytes.as_ref())?;
        }
        Ok(file.finish()?)
    }
}

/// A file as far as it has been read.
struct Content<'a, B> {
    extraction: Extraction<'a, B>,
    bytes: Vec<u8>,
}

impl<'a, B: AsRef<[u8]>> Content<'a, B> {
    fn begin(reader: &'a Reader<B>, entry: &Entry<'_>, limit: u64) -> Result<Self, ExtractError> {
        let extraction = reader.extraction(entry)?;
        let size = extraction.remaining();
        if size > limit {
            return Err(ExtractError::TooLarge { size, limit });
        }
        // Grows with what comes, not with what the ztoc claims.
        Ok(Self { extraction, bytes: Vec::new() })
    }

    /// What is to be fetched next.
    fn next_range<E>(&mut self) -> Result<Option<Range<u64>>, FetchError<E>> {
        while let Some(span) = self.extraction.next_span() {
            let range = span.range();
            if !range.is_empty() {
                return Ok(Some(range));
            }
            // No server has a range of no bytes.
            self.push(&[])?;
        }
        Ok(None)
    }

    fn push<E>(&mut self, span: &[u8]) -> Result<(), FetchError<E>> {
        self.extraction.push(span, &mut |data| {
            self.bytes.extend_from_slice(data);
            Ok(())
        })
    }

    fn finish(self) -> Result<Vec<u8>, ExtractError> {
        self.extraction.finish()?;
        Ok(self.bytes)
    }
}
