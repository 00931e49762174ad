//! `ztoc build`, `ztoc info` and `ztoc extract`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::{process, thread};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::json;
use soci_indexer::{Cores, build_ztoc};
use soci_oci::Digest;
use soci_text::size;
use soci_ztoc::{Entry, FetchError, LayerLimits, Reader, Unbounded, ZtocSettings};

use crate::cli::{ZtocBuildArgs, ZtocExtractArgs, ZtocInfoArgs};
use crate::report::Column::{Number, Text};
use crate::report::{self, Table};

/// Bytes read from a layer at a time.
const READ_SIZE: usize = 256 << 10;

/// Pieces that are read and not inflated yet.
const READ_AHEAD: usize = 4;

pub(crate) fn build(args: &ZtocBuildArgs) -> Result<()> {
    let layer = args.layer.display();
    let file: Box<dyn Read + Send> = if args.layer.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.layer).with_context(|| format!("layer {layer}"))?)
    };
    let settings = ZtocSettings {
        span_size: args.span_size,
        ..ZtocSettings::new(args.compression, args.build_tool_identifier.clone())
    };
    let count = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let pieces = read_ahead(file);
    let next = || pieces.recv().unwrap_or_else(|_| Err(io::Error::other("its reader ended")));
    let ztoc = build_ztoc(settings, Box::new(Unbounded), &Cores::new(count), next)
        .with_context(|| format!("layer {layer}"))?;
    let told = format!("{} {}", Digest::from_sha256(ztoc.encoded.sha256()), ztoc.encoded.size());
    if args.output.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        let mut pieces = ztoc.encoded.pieces().iter();
        // A part of it is of no use, so whoever stops reading has failed.
        let written = pieces.try_for_each(|piece| out.write_all(piece)).and_then(|()| out.flush());
        written.context("the ztoc cannot be written to standard output")?;
        report::note(told);
        return Ok(());
    }
    write(&args.output, ztoc.encoded.pieces())
        .with_context(|| format!("ztoc {}", args.output.display()))?;
    Ok(writeln!(io::stdout(), "{told}")?)
}

/// The pieces of a layer, and none at its end. A thread of its own reads them, so that the one that inflates never waits
/// for a disk or a pipe.
fn read_ahead(mut layer: impl Read + Send + 'static) -> Receiver<io::Result<Option<Bytes>>> {
    let (sender, pieces) = sync_channel(READ_AHEAD);
    thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(READ_SIZE);
            let read = layer.by_ref().take(READ_SIZE as u64).read_to_end(&mut piece);
            let next = read.map(|read| (read > 0).then(|| piece.into()));
            let goes_on = matches!(next, Ok(Some(_)));
            // Who does not want any more of it has closed the channel.
            if sender.send(next).is_err() || !goes_on {
                break;
            }
        }
    });
    pieces
}

fn write(path: &Path, pieces: &[Vec<u8>]) -> io::Result<()> {
    replace(path, |file| pieces.iter().try_for_each(|piece| file.write_all(piece)))
}

/// Writes a file beside `path` and puts it there once it is whole, so that nobody ever finds a part of it, and
/// what was there stays if that fails. A pipe or a device is written to as it is.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let there = match fs::metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return write(&mut File::options().write(true).open(path)?);
    }
    // A link stays, and what it leads to is replaced.
    let path = if there.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", process::id()));
    let partial = path.with_file_name(name);
    let mut file = File::options().write(true).create_new(true).open(&partial)?;
    let written = write(&mut file)
        .and_then(|()| there.map_or(Ok(()), |there| file.set_permissions(there.permissions())))
        .and_then(|()| fs::rename(&partial, &path));
    if written.is_err() {
        // What is left is of no use, and the first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn open(path: &Path) -> Result<Reader<Vec<u8>>> {
    let name = || format!("ztoc {}", path.display());
    let limit = LayerLimits::DEFAULT.ztoc_size as u64;
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(name)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(name)?;
    Reader::parse(bytes, &LayerLimits::DEFAULT).with_context(name)
}

pub(crate) fn info(args: &ZtocInfoArgs) -> Result<()> {
    let reader = open(&args.ztoc)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        // As an I/O error, which tells a closed pipe from others.
        serde_json::to_writer_pretty(&mut out, &describe(&reader)).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "build tool         {}", reader.build_tool_identifier())?;
    writeln!(out, "compression        {}", reader.compression())?;
    writeln!(out, "compressed size    {}", size(reader.compressed_size()))?;
    writeln!(out, "uncompressed size  {}", size(reader.uncompressed_size()))?;
    writeln!(out, "span size          {}", size(reader.span_size()))?;
    writeln!(out, "spans              {}", reader.span_count())?;
    writeln!(out, "files              {}", reader.entry_count())?;
    writeln!(out)?;
    let row = |entry: &Entry<'_>| {
        let name = String::from_utf8_lossy(entry.name);
        let arrow = if entry.linkname.is_empty() { "" } else { " -> " };
        let link = String::from_utf8_lossy(entry.linkname);
        [
            entry.kind.as_str().to_owned(),
            entry.size.to_string(),
            entry.offset.to_string(),
            format!("{}{arrow}{}", name.escape_debug(), link.escape_debug()),
        ]
    };
    let mut table = Table::new([Text("type"), Number("size"), Number("offset"), Text("name")]);
    // Twice, as a layer may have more files than are held as text.
    for entry in reader.entries() {
        table.fit(&row(&entry));
    }
    write!(out, "{}", table.head())?;
    for entry in reader.entries() {
        write!(out, "{}", table.row(&row(&entry)))?;
    }
    Ok(out.flush()?)
}

fn describe(reader: &Reader<Vec<u8>>) -> serde_json::Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let spans: Vec<_> = reader
        .spans()
        .map(|span| {
            json!({
                "start": span.start,
                "end": span.end,
                "uncompressed_start": span.uncompressed_start,
                "digest": Digest::from_sha256(span.sha256).to_string(),
            })
        })
        .collect();
    let files: Vec<_> = reader
        .entries()
        .map(|entry| {
            let records: serde_json::Map<_, _> =
                entry.pax_records().map(|(key, value)| (text(key), json!(text(value)))).collect();
            json!({
                "name": text(entry.name),
                "type": entry.kind.as_str(),
                "offset": entry.offset,
                "size": entry.size,
                "linkname": text(entry.linkname),
                "mode": entry.mode,
                "uid": entry.uid,
                "gid": entry.gid,
                "uname": text(entry.uname),
                "gname": text(entry.gname),
                "mod_time": text(entry.mod_time),
                "devmajor": entry.devmajor,
                "devminor": entry.devminor,
                "pax_records": records,
            })
        })
        .collect();
    json!({
        "version": "0.9",
        "build_tool_identifier": reader.build_tool_identifier(),
        "compression": reader.compression().as_str(),
        "compressed_size": reader.compressed_size(),
        "uncompressed_size": reader.uncompressed_size(),
        "span_size": reader.span_size(),
        "spans": spans,
        "files": files,
    })
}

pub(crate) fn extract(args: &ZtocExtractArgs) -> Result<()> {
    let reader = open(&args.ztoc)?;
    let layer = || format!("layer {}", args.layer.display());
    let mut file = File::open(&args.layer).with_context(layer)?;
    let path = args.path.display();
    let Some(entry) = reader.find(args.path.as_encoded_bytes()) else {
        bail!("{path} is not in the layer; `ztoc info` lists what is");
    };
    let mut out = io::stdout().lock();
    let in_layer = || format!("{path} in {}", layer());
    let mut extraction = reader.extraction(&entry).with_context(in_layer)?;
    while let Some(span) = extraction.next_span() {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(span.start)).with_context(layer)?;
        let size = span.end - span.start;
        Read::by_ref(&mut file).take(size).read_to_end(&mut bytes).with_context(layer)?;
        extraction.push(&bytes, &mut |data| out.write_all(data)).map_err(|error| match error {
            FetchError::Extract(error) => anyhow::Error::new(error).context(in_layer()),
            FetchError::Fetch(error) => anyhow::Error::new(error),
        })?;
    }
    extraction.finish().with_context(in_layer)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_as_a_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ztoc");
        let fails = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert!(replace(&path, fails).is_err());
        assert!(names(folder.path()).is_empty());

        write(&path, &[b"o".to_vec(), b"ld".to_vec()]).unwrap();
        assert!(replace(&path, fails).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, &[b"new".to_vec()]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["out.ztoc"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_and_a_device_is_written_to() {
        use std::os::unix::fs::FileTypeExt as _;

        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write(&file, &[b"old".to_vec()]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, &[b"new".to_vec()]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");

        write(Path::new("/dev/null"), &[b"nothing".to_vec()]).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(write(folder.path(), &[]).is_err());
    }
}
