//! What a file says at its beginning, and in its tables, of the files that it needs.
//!
//! Sources: System V ABI, object files and dynamic linking; execve(2) for scripts.

use std::ops::Range;

use elf::abi::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use elf::dynamic::DynamicTable;
use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use elf::string_table::StringTable;

/// Bytes that are read first: the line of a script, or the headers of nearly every program.
const HEAD: u64 = 4096;

/// Most program headers, dynamic entries and bytes of strings that are read: a thousand times what programs have.
const MAX_TABLE: u64 = 1 << 20;

/// Most libraries that a file may need, and most folders in which it wants them to be looked for.
const MAX_NEEDED: usize = 128;

/// Bytes of all names of a file that are kept. Thousands of bytes are many.
const MAX_NAMES: usize = 16 << 10;

/// Most bytes that one file takes when it is known, with what its names take beside themselves.
pub const MAX_INSPECTED: usize = 32 << 10;

/// What a file is, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// A program or a library in ELF.
    Elf {
        /// The dynamic linker.
        interpreter: Option<String>,
        /// The libraries by their names.
        needed: Vec<String>,
        /// The folders in which it wants them to be looked for, unexpanded.
        search: Vec<String>,
        /// The machine that it is for, a number of the ABI.
        machine: u16,
    },
    /// A script.
    Script {
        /// The words behind `#!`: the interpreter, and all that follows as one argument.
        interpreter: Vec<String>,
    },
    /// Something else, as far as it was read.
    Other(Vec<u8>),
}

/// Inspects one file: give it the bytes that it asks for.
#[derive(Debug)]
pub struct Inspector {
    size: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Head,
    Segments { header: Elf },
    Interpreter { header: Elf, segments: Segments },
    Dynamic { header: Elf, segments: Segments, interpreter: Option<String> },
    Strings { dynamic: Dynamic, interpreter: Option<String>, machine: u16 },
    Done(Inspected),
}

#[derive(Debug)]
struct Elf {
    endian: AnyEndian,
    class: Class,
    machine: u16,
    segments: Range<u64>,
}

#[derive(Debug, Default)]
struct Segments {
    loads: Vec<ProgramHeader>,
    interpreter: Option<Range<u64>>,
    dynamic: Option<Range<u64>>,
}

#[derive(Debug, Default)]
struct Dynamic {
    needed: Vec<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    strings: Range<u64>,
}

impl Inspector {
    /// For a file of so many bytes.
    pub fn new(size: u64) -> Self {
        Self { size, step: Step::Head }
    }

    /// The bytes of the file that are needed next; `None` once all is known.
    pub fn wants(&self) -> Option<Range<u64>> {
        match &self.step {
            Step::Head => Some(0..self.size.min(HEAD)),
            Step::Segments { header } => Some(header.segments.clone()),
            Step::Interpreter { segments, .. } => segments.interpreter.clone(),
            Step::Dynamic { segments, .. } => segments.dynamic.clone(),
            Step::Strings { dynamic, .. } => Some(dynamic.strings.clone()),
            Step::Done(_) => None,
        }
    }

    /// Takes the bytes that were wanted. What cannot be understood makes the file something else.
    pub fn push(&mut self, bytes: &[u8]) {
        let step = std::mem::replace(&mut self.step, Step::Head);
        self.step =
            self.next(step, bytes).unwrap_or_else(|| Step::Done(Inspected::Other(Vec::new())));
    }

    /// What it is, once all is known.
    pub fn finish(self) -> Option<Inspected> {
        match self.step {
            Step::Done(inspected) => Some(inspected),
            _ => None,
        }
    }

    fn next(&self, step: Step, bytes: &[u8]) -> Option<Step> {
        match step {
            Step::Head if bytes.starts_with(elf::abi::ELFMAGIC.as_slice()) => {
                let header = self.header(bytes)?;
                // The table nearly always follows the header.
                let in_head = |at: u64| usize::try_from(at).ok();
                let table = in_head(header.segments.start)?..in_head(header.segments.end)?;
                match bytes.get(table) {
                    Some(table) => {
                        let table = table.to_vec();
                        self.next(Step::Segments { header }, &table)
                    }
                    None => Some(Step::Segments { header }),
                }
            }
            Step::Head => {
                Some(Step::Done(script(bytes).unwrap_or_else(|| Inspected::Other(bytes.to_vec()))))
            }
            Step::Segments { header } => {
                let segments = self.segments(&header, bytes);
                Some(match segments.interpreter {
                    Some(_) => Step::Interpreter { header, segments },
                    None => dynamic_or_done(header, segments, None),
                })
            }
            Step::Interpreter { header, segments } => {
                let interpreter = text(bytes).filter(|path| path.len() < MAX_NAMES);
                Some(dynamic_or_done(header, segments, interpreter))
            }
            Step::Dynamic { header, segments, interpreter } => {
                let dynamic = self.dynamic(&header, &segments, bytes)?;
                Some(Step::Strings { dynamic, interpreter, machine: header.machine })
            }
            Step::Strings { dynamic, interpreter, machine } => {
                let strings = StringTable::new(bytes);
                let at = |offset: u64| {
                    let bytes = strings.get_raw(usize::try_from(offset).ok()?).ok()?;
                    std::str::from_utf8(bytes).ok()
                };
                let mut left = MAX_NAMES;
                let mut fits = |name: &&str| {
                    let fits = !name.is_empty() && name.len() < left;
                    left -= if fits { name.len() } else { 0 };
                    fits
                };
                let needed = dynamic.needed.iter().copied().filter_map(at).filter(&mut fits);
                let needed: Vec<String> = needed.map(str::to_owned).collect();
                // The older of the two does not count beside the newer.
                let search = dynamic.runpath.or(dynamic.rpath).and_then(at).unwrap_or_default();
                let search = search.split(':').filter(&mut fits).take(MAX_NEEDED);
                let search = search.map(str::to_owned).collect();
                Some(Step::Done(Inspected::Elf { interpreter, needed, search, machine }))
            }
            Step::Done(_) => Some(step),
        }
    }

    fn header(&self, bytes: &[u8]) -> Option<Elf> {
        let ident = parse_ident::<AnyEndian>(bytes).ok()?;
        let tail = bytes.get(elf::abi::EI_NIDENT..)?;
        let header = FileHeader::parse_tail(ident, tail).ok()?;
        let length = u64::from(header.e_phentsize) * u64::from(header.e_phnum);
        let segments = self.range(header.e_phoff, length)?;
        let FileHeader { endianness: endian, class, e_machine: machine, .. } = header;
        Some(Elf { endian, class, machine, segments })
    }

    fn segments(&self, header: &Elf, bytes: &[u8]) -> Segments {
        let mut segments = Segments::default();
        for segment in SegmentTable::new(header.endian, header.class, bytes).iter() {
            let range = self.range(segment.p_offset, segment.p_filesz);
            match segment.p_type {
                PT_LOAD => segments.loads.push(segment),
                PT_INTERP => segments.interpreter = range,
                PT_DYNAMIC => segments.dynamic = range,
                _ => {}
            }
        }
        segments
    }

    fn dynamic(&self, header: &Elf, segments: &Segments, bytes: &[u8]) -> Option<Dynamic> {
        let mut dynamic = Dynamic::default();
        let (mut strings, mut length) = (None, None);
        for entry in DynamicTable::new(header.endian, header.class, bytes).iter() {
            match entry.d_tag {
                DT_NEEDED if dynamic.needed.len() < MAX_NEEDED => {
                    dynamic.needed.push(entry.d_val());
                }
                DT_RPATH => dynamic.rpath = Some(entry.d_val()),
                DT_RUNPATH => dynamic.runpath = Some(entry.d_val()),
                DT_STRTAB => strings = Some(entry.d_ptr()),
                DT_STRSZ => length = Some(entry.d_val()),
                _ => {}
            }
        }
        // The table names the address in memory.
        let strings = strings?;
        let offset = segments.loads.iter().find_map(|load| {
            let into = strings.checked_sub(load.p_vaddr)?;
            (into < load.p_filesz).then_some(load.p_offset.checked_add(into)?)
        })?;
        dynamic.strings = self.range(offset, length?)?;
        Some(dynamic)
    }

    /// A range of the file that is not empty, lies in it, and is not too long.
    fn range(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let end = offset.checked_add(length)?;
        (length > 0 && length <= MAX_TABLE && end <= self.size).then_some(offset..end)
    }
}

fn dynamic_or_done(header: Elf, segments: Segments, interpreter: Option<String>) -> Step {
    if segments.dynamic.is_some() {
        return Step::Dynamic { header, segments, interpreter };
    }
    let (needed, search) = (Vec::new(), Vec::new());
    Step::Done(Inspected::Elf { interpreter, needed, search, machine: header.machine })
}

/// The text in front of a zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).ok()
}

fn script(bytes: &[u8]) -> Option<Inspected> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let (interpreter, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let words = [interpreter, argument.trim()].into_iter().filter(|word| !word.is_empty());
    let interpreter: Vec<String> = words.map(str::to_owned).collect();
    (!interpreter.is_empty()).then_some(Inspected::Script { interpreter })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inspect(file: &[u8]) -> Inspected {
        let mut inspector = Inspector::new(file.len() as u64);
        for _ in 0..10 {
            let Some(range) = inspector.wants() else { return inspector.finish().unwrap() };
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            inspector.push(&file[range]);
        }
        panic!("it never ends");
    }

    #[test]
    fn this_very_program_needs_its_linker_and_the_c_library() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let Inspected::Elf { interpreter, needed, .. } = inspect(&program) else {
            panic!("no ELF")
        };
        assert!(interpreter.unwrap().contains("ld-"), "the interpreter");
        assert!(needed.iter().any(|library| library.starts_with("libc.")), "{needed:?}");
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let words = |text: &str| match inspect(text.as_bytes()) {
            Inspected::Script { interpreter } => interpreter,
            other => panic!("{other:?}"),
        };
        assert_eq!(words("#!/bin/sh\nexec x"), ["/bin/sh"]);
        assert_eq!(words("#! /usr/bin/env  python3 -u \n"), ["/usr/bin/env", "python3 -u"]);
        assert!(matches!(inspect(b"#!\n"), Inspected::Other(_)));
        assert_eq!(inspect(b"/lib\n"), Inspected::Other(b"/lib\n".to_vec()));
        assert_eq!(inspect(b""), Inspected::Other(Vec::new()));
    }

    #[test]
    fn what_is_kept_of_a_file_is_bounded_whatever_it_names() {
        let (long, folders, colons) =
            ("a".repeat(1 << 19), "/a:".repeat(100_000), ":".repeat(1 << 19));
        let short = "a".repeat(100);
        for (names, string) in
            [(10, &short), (10_000, &short), (500, &long), (1, &colons), (1, &folders)]
        {
            // DT_NEEDED so many times, and DT_RUNPATH, all at the same string.
            let entries = [vec![(1, 1); names], vec![(29, 1)]].concat();
            let file = crate::testing::elf("", &[string], &entries);
            let Inspected::Elf { needed, search, .. } = inspect(&file) else { panic!("{names}") };
            assert!(names != 10 || (needed.len(), search.len()) == (10, 1));
            let kept = needed.iter().chain(&search).map(|name| name.len() + 24);
            assert!(kept.sum::<usize>() <= MAX_INSPECTED, "{names}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_program_does_not_make_it_panic(at in 0usize..4096, byte: u8, end in 0usize..200_000) {
            let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
            program.truncate(end.max(64));
            let at = at % program.len();
            program[at] = byte;
            inspect(&program);
        }
    }
}
