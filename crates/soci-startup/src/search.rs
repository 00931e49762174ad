//! Follows what a program needs, from its command line on.
//!
//! - The first word is the program: a path, or a name that is looked for in `PATH`.
//! - Each later word that names a file, from the working folder on, is one as well: the script of an interpreter, the
//!   configuration of a server; and so is one that names a program in `PATH`, as entry points take them
//!   (`docker-entrypoint.sh nginx`, `tini -- java`).
//! - What a shell is given behind `-c` is read as words; the first of each command is a program.
//! - A script needs its interpreter, `env` the program that it is given.
//! - A program in ELF needs its dynamic linker and its libraries. These are looked for as ld.so(8) does it: in the folders
//!   that the file names, in `LD_LIBRARY_PATH`, in those of `/etc/ld.so.conf`, in the standard ones.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::rc::Rc;

use crate::config::RunConfig;
use crate::inspect::Inspected;
use crate::tree::{Place, Tree};

/// Most files that are found, and most that are read beside for where libraries are.
pub const MAX_FILES: usize = 256;

/// Larger files are not among them, in bytes: a snapshotter waits for all before it mounts the layer, and a program
/// reads little of a large file before it speaks.
const MAX_FILE: u64 = 64 << 20;

/// Bytes of all files together.
const MAX_BYTES: u64 = 256 << 20;

/// Most words of a command line that are looked at.
const MAX_WORDS: usize = 256;

/// Most lines of the linker's configuration, and most files that it includes.
const MAX_CONF: usize = MAX_FILES;

/// Most folders in which a library is looked for.
const MAX_FOLDERS: usize = 128;

/// What all looks into the tree may cost together, however often the search begins again: one for each look and one
/// more for each 32 bytes of its path. Programs of many libraries cost a tenth of it.
const MAX_EFFORT: usize = 1 << 20;

/// The linker's configuration.
const LD_SO_CONF: &str = "/etc/ld.so.conf";

/// Where every linker looks in the end.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib64", "/usr/local/lib"];

/// Debian's and Ubuntu's folders by machine.
const MULTIARCH: [(u16, &str); 6] = [
    (elf::abi::EM_X86_64, "x86_64-linux-gnu"),
    (elf::abi::EM_AARCH64, "aarch64-linux-gnu"),
    (elf::abi::EM_ARM, "arm-linux-gnueabihf"),
    (elf::abi::EM_386, "i386-linux-gnu"),
    (elf::abi::EM_PPC64, "powerpc64le-linux-gnu"),
    (elf::abi::EM_S390, "s390x-linux-gnu"),
];

/// Shells that take a command behind `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "busybox", "zsh"];

/// A file that a program needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededFile {
    /// Its path in the image.
    pub path: String,
    /// Its entry.
    pub place: Place,
    /// Its bytes.
    pub size: u64,
}

/// A file that has to be inspected before the search can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileToInspect {
    /// The file.
    pub place: Place,
    /// Its bytes.
    pub size: u64,
}

/// What a search comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    /// This file has to be inspected first.
    Inspect(FileToInspect),
    /// All that was found, in the order in which a start needs it.
    Found(Vec<NeededFile>),
}

/// What a search may still cost. Begin with the default, and hand the same to each call of one search.
#[derive(Clone, Copy, Debug)]
pub struct Effort(usize);

impl Default for Effort {
    fn default() -> Self {
        Self(MAX_EFFORT)
    }
}

/// The files that the image's program needs to start. `inspected` is what is known of files by now. When the effort is
/// spent, what was found by then is all.
pub fn needed_files(
    config: &RunConfig,
    tree: &Tree,
    inspected: &BTreeMap<Place, Inspected>,
    effort: &mut Effort,
) -> Searched {
    let mut search = Search {
        config,
        tree,
        inspected,
        found: Vec::new(),
        seen: HashSet::new(),
        bytes: 0,
        effort,
        configured: None,
        libraries: VecDeque::new(),
    };
    match search.command(&config.arguments) {
        Ok(()) => Searched::Found(search.found),
        Err(need) => Searched::Inspect(need),
    }
}

struct Search<'a> {
    config: &'a RunConfig,
    tree: &'a Tree,
    inspected: &'a BTreeMap<Place, Inspected>,
    found: Vec<NeededFile>,
    seen: HashSet<Place>,
    bytes: u64,
    effort: &'a mut Effort,
    /// The folders of the linker's configuration, once it was read.
    configured: Option<Rc<[String]>>,
    /// Libraries to look for, each with the folders of the file that needs it.
    libraries: VecDeque<(String, Rc<[String]>, u16)>,
}

impl Search<'_> {
    fn command(&mut self, words: &[String]) -> Result<(), FileToInspect> {
        let mut words = words.iter().take(MAX_WORDS);
        let Some(program) = words.next() else { return Ok(()) };
        let mut shell = is_shell(program);
        self.program(program)?;
        let mut is_command = false;
        for word in words {
            if is_command {
                is_command = false;
                for program in commands(word) {
                    self.program(program)?;
                }
            } else if word.starts_with('-') {
                // `-c`, and `-ec` and the like.
                is_command = shell && !word.starts_with("--") && word.ends_with('c');
            } else {
                shell |= is_shell(word);
                self.program(word)?;
            }
        }
        Ok(())
    }

    /// A word that may be a file or a program.
    fn program(&mut self, word: &str) -> Result<(), FileToInspect> {
        let config = self.config;
        let mut file = None;
        // A name alone is a program in PATH first, as execvp has it, and then a file of the working folder.
        if !word.contains('/') && !word.is_empty() {
            file = config.path.iter().find_map(|folder| self.look(folder, word));
        }
        let file = file.or_else(|| self.look(&config.working_dir, word));
        let Some((path, place, size)) = file else { return Ok(()) };
        self.file(&path, place, size)
    }

    /// What a program in a folder sees at a path.
    fn look(&mut self, folder: &str, path: &str) -> Option<(String, Place, u64)> {
        self.spend(1 + (folder.len() + path.len()) / 32)?;
        self.tree.file(folder, path)
    }

    /// Takes from what the search may cost; `None` once that is spent.
    fn spend(&mut self, cost: usize) -> Option<()> {
        let left = self.effort.0.checked_sub(cost);
        self.effort.0 = left.unwrap_or(0);
        left.map(|_| ())
    }

    fn file(&mut self, path: &str, place: Place, size: u64) -> Result<(), FileToInspect> {
        if !self.take(path, place, size) {
            return Ok(());
        }
        match self.inspect(place, size)? {
            Inspected::Script { interpreter } => {
                let interpreter = interpreter.clone();
                self.script(&interpreter)?;
            }
            Inspected::Elf { interpreter, needed, search, machine } => {
                let (interpreter, needed) = (interpreter.clone(), needed.clone());
                let (search, machine) = (expanded(search, path), *machine);
                if let Some(interpreter) = interpreter
                    && let Some((path, place, size)) = self.look("/", &interpreter)
                {
                    self.take(&path, place, size);
                }
                self.libraries
                    .extend(needed.into_iter().map(|name| (name, search.clone(), machine)));
                self.find_libraries()?;
            }
            Inspected::Other(_) => {}
        }
        Ok(())
    }

    fn script(&mut self, interpreter: &[String]) -> Result<(), FileToInspect> {
        let [program, rest @ ..] = interpreter else { return Ok(()) };
        self.program(program)?;
        if program.ends_with("/env") {
            let mut words = rest.iter().flat_map(|argument| argument.split_whitespace());
            let given = words.find(|word| !word.starts_with('-') && !word.contains('='));
            if let Some(given) = given {
                self.program(given)?;
            }
        }
        Ok(())
    }

    fn find_libraries(&mut self) -> Result<(), FileToInspect> {
        while let Some((name, search, machine)) = self.libraries.pop_front() {
            let Some((path, place, size)) = self.library(&name, &search, machine)? else {
                continue;
            };
            if !self.take(&path, place, size) {
                continue;
            }
            if let Inspected::Elf { needed, search, machine, .. } = self.inspect(place, size)? {
                let (search, machine) = (expanded(search, &path), *machine);
                let needed = needed.iter().map(|name| (name.clone(), search.clone(), machine));
                self.libraries.extend(needed.collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    fn library(
        &mut self,
        name: &str,
        search: &[String],
        machine: u16,
    ) -> Result<Option<(String, Place, u64)>, FileToInspect> {
        let config = self.config;
        if name.contains('/') {
            return Ok(self.look(&config.working_dir, name));
        }
        let configured = self.configured_folders()?;
        let named = search.iter().chain(&config.library_path).chain(configured.iter());
        if let Some(found) = named.take(MAX_FOLDERS).find_map(|folder| self.look(folder, name)) {
            return Ok(Some(found));
        }
        if let Some((_, triplet)) = MULTIARCH.iter().find(|(known, _)| *known == machine) {
            let parents = ["/lib", "/usr/lib"].map(|parent| format!("{parent}/{triplet}"));
            if let Some(found) = parents.iter().find_map(|folder| self.look(folder, name)) {
                return Ok(Some(found));
            }
        }
        Ok(LIBRARY_FOLDERS.iter().find_map(|folder| self.look(folder, name)))
    }

    /// The folders of the linker's configuration.
    fn configured_folders(&mut self) -> Result<Rc<[String]>, FileToInspect> {
        if let Some(known) = &self.configured {
            return Ok(Rc::clone(known));
        }
        let mut folders = Vec::new();
        let mut files = VecDeque::from([LD_SO_CONF.to_owned()]);
        let mut read = 0;
        while let Some(file) = files.pop_front().filter(|_| read < MAX_CONF) {
            read += 1;
            let Some((_, place, size)) = self.look("/", &file) else { continue };
            let Inspected::Other(text) = self.inspect(place, size)? else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            for line in text.lines() {
                let line = line.split('#').next().unwrap_or_default().trim();
                if let Some(pattern) = line.strip_prefix("include") {
                    let room = MAX_CONF.saturating_sub(files.len());
                    files.extend(self.matching(pattern.trim(), room));
                } else {
                    let words = line.split([':', ',', ' ', '\t']);
                    folders.extend(words.filter(|f| f.starts_with('/')).map(str::to_owned));
                    folders.truncate(MAX_FOLDERS);
                }
            }
        }
        let folders: Rc<[String]> = folders.into();
        self.configured = Some(Rc::clone(&folders));
        Ok(folders)
    }

    /// The files that a pattern of the linker's configuration names: a star may stand in the last component.
    fn matching(&mut self, pattern: &str, most: usize) -> Vec<String> {
        let path =
            if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/{pattern}") };
        let Some((folder, name)) = path.rsplit_once('/') else { return Vec::new() };
        let Some((before, after)) = name.split_once('*') else { return vec![path.clone()] };
        // What lies deeper is passed over, and costs as much.
        let (files, passed) = self.tree.children(folder, most, self.effort.0);
        if self.spend(1 + passed).is_none() {
            return Vec::new();
        }
        let fits = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        };
        files.into_iter().filter(fits).collect()
    }

    fn inspect(&self, place: Place, size: u64) -> Result<&Inspected, FileToInspect> {
        self.inspected.get(&place).ok_or(FileToInspect { place, size })
    }

    /// Notes a file. False if it is known, or there are too many.
    fn take(&mut self, path: &str, place: Place, size: u64) -> bool {
        if self.seen.len() >= MAX_FILES || !self.seen.insert(place) {
            return false;
        }
        // What is too large to be fetched at once is inspected all the same.
        if size <= MAX_FILE && self.bytes.saturating_add(size) <= MAX_BYTES {
            self.bytes += size;
            self.found.push(NeededFile { path: path.to_owned(), place, size });
        }
        true
    }
}

fn is_shell(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    SHELLS.contains(&name)
}

/// The first words of a shell's commands, without what only sets variables or stands for the shell itself.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let commands = text.split([';', '\n', '&', '|', '(', ')', '{', '}']).take(MAX_WORDS);
    commands.flat_map(|command| {
        let mut words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        let own = ["exec", "then", "do", "else", "if", "!", "time", "command"];
        let first =
            words.find(|word| !word.is_empty() && !word.contains('=') && !own.contains(word));
        // A script that an interpreter is given comes right behind it.
        let second = words.find(|word| !word.starts_with('-'));
        first.into_iter().chain(second)
    })
}

/// The folders that a file names, with what stands for the file's own folder put in.
fn expanded(search: &[String], path: &str) -> Rc<[String]> {
    let origin = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let expand = |folder: &String| folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
    let sane = |folder: &&String| folder.matches('$').count() <= 2;
    search.iter().filter(sane).take(MAX_FOLDERS).map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{EntryKind, TreeEntry};

    const FILE: EntryKind<'_> = EntryKind::File { size: 10 };

    struct Image {
        tree: Tree,
        inspected: BTreeMap<Place, Inspected>,
        config: RunConfig,
    }

    fn elf(interpreter: &str, needed: &[&str], search: &[&str]) -> Inspected {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Inspected::Elf {
            interpreter: (!interpreter.is_empty()).then(|| interpreter.to_owned()),
            needed: words(needed),
            search: words(search),
            machine: elf::abi::EM_X86_64,
        }
    }

    fn text(text: &str) -> Inspected {
        Inspected::Other(text.as_bytes().to_vec())
    }

    fn script(words: &[&str]) -> Inspected {
        Inspected::Script { interpreter: words.iter().map(ToString::to_string).collect() }
    }

    fn image(files: &[(&str, Inspected)], arguments: &[&str]) -> Image {
        let mut tree = Tree::new(1 << 20);
        let entries = || {
            let names = files.iter().enumerate();
            names.map(|(entry, (name, _))| TreeEntry { name: name.as_bytes(), entry, kind: FILE })
        };
        tree.add_layer(0, entries).unwrap();
        let inspected = files
            .iter()
            .enumerate()
            .map(|(entry, (_, what))| (Place { layer: 0, entry }, what.clone()));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let config = RunConfig {
            arguments,
            path: vec!["/usr/bin".to_owned(), "/bin".to_owned()],
            library_path: vec!["/opt/lib".to_owned()],
            working_dir: "/app".to_owned(),
            ..RunConfig::default()
        };
        Image { tree, inspected: inspected.collect(), config }
    }

    fn found(files: &[(&str, Inspected)], arguments: &[&str]) -> Vec<String> {
        let Image { tree, inspected, config } = image(files, arguments);
        match needed_files(&config, &tree, &inspected, &mut Effort::default()) {
            Searched::Found(files) => files.into_iter().map(|file| file.path).collect(),
            Searched::Inspect(need) => panic!("{need:?}"),
        }
    }

    #[test]
    fn a_program_needs_its_linker_and_libraries_and_what_these_need() {
        let files = [
            ("usr/bin/app", elf("/lib64/ld.so", &["libone.so", "libgone.so"], &["$ORIGIN/../own"])),
            ("lib64/ld.so", elf("", &[], &[])),
            ("usr/own/libone.so", elf("", &["libtwo.so", "libone.so"], &[])),
            ("opt/lib/libtwo.so", elf("", &["libthree.so"], &[])),
            ("etc/ld.so.conf", text("include ld.so.conf.d/*.conf\n# /no\n")),
            ("etc/ld.so.conf.d/a.conf", text("/conf/lib\n")),
            ("etc/ld.so.conf.d/a.txt", text("/other\n")),
            ("conf/lib/libthree.so", elf("", &["libc.so"], &[])),
            ("usr/lib/x86_64-linux-gnu/libc.so", elf("", &[], &[])),
            ("usr/lib/libunused.so", elf("", &[], &[])),
        ];
        let expected = [
            "/usr/bin/app",
            "/lib64/ld.so",
            "/usr/own/libone.so",
            "/opt/lib/libtwo.so",
            "/conf/lib/libthree.so",
            "/usr/lib/x86_64-linux-gnu/libc.so",
        ];
        assert_eq!(found(&files, &["app"]), expected);
    }

    #[test]
    fn a_script_needs_its_interpreter_and_env_the_program_that_it_is_given() {
        let files = [
            ("app/start", script(&["/usr/bin/env", "-S python -u"])),
            ("usr/bin/env", elf("", &[], &[])),
            ("usr/bin/python", elf("", &[], &[])),
        ];
        assert_eq!(found(&files, &["./start"]), ["/app/start", "/usr/bin/env", "/usr/bin/python"]);
    }

    #[test]
    fn words_that_name_files_or_programs_are_needed_too() {
        let files = [
            ("usr/bin/tini", elf("", &[], &[])),
            ("usr/bin/nginx", elf("", &[], &[])),
            ("etc/nginx.conf", text("x")),
            ("app/main.py", text("x")),
            ("app/off", text("x")),
        ];
        let words = ["tini", "--", "nginx", "-c", "/etc/nginx.conf", "main.py", "missing", "-off"];
        assert_eq!(
            found(&files, &words),
            ["/usr/bin/tini", "/usr/bin/nginx", "/etc/nginx.conf", "/app/main.py"]
        );
    }

    #[test]
    fn what_a_shell_is_given_is_read_as_commands() {
        let files = [
            ("bin/sh", elf("", &[], &[])),
            ("bin/migrate", elf("", &[], &[])),
            ("usr/bin/python", elf("", &[], &[])),
            ("app/main.py", text("x")),
            ("app/echo", text("x")),
        ];
        let words = ["/bin/sh", "-c", "A=1 migrate --all && exec \"python\" -u main.py"];
        assert_eq!(
            found(&files, &words),
            ["/bin/sh", "/bin/migrate", "/usr/bin/python", "/app/main.py"]
        );
    }

    #[test]
    fn it_says_what_it_has_to_know_first() {
        let mut image =
            image(&[("usr/bin/app", elf("", &["l"], &[])), ("lib/l", text(""))], &["app"]);
        let library = image.inspected.remove(&Place { layer: 0, entry: 1 }).unwrap();
        let need = FileToInspect { place: Place { layer: 0, entry: 1 }, size: 10 };
        let searched =
            needed_files(&image.config, &image.tree, &image.inspected, &mut Effort::default());
        assert_eq!(searched, Searched::Inspect(need));
        image.inspected.insert(need.place, library);
        assert!(
            matches!(needed_files(&image.config, &image.tree, &image.inspected, &mut Effort::default()), Searched::Found(files) if files.len() == 2)
        );
    }

    #[test]
    fn a_large_file_is_not_fetched_and_what_it_needs_is() {
        let mut tree = Tree::new(1 << 20);
        let sizes = [("usr/bin/app", MAX_FILE + 1), ("lib/l", MAX_FILE)];
        let entries = || {
            sizes.iter().enumerate().map(|(entry, (name, size))| TreeEntry {
                name: name.as_bytes(),
                entry,
                kind: EntryKind::File { size: *size },
            })
        };
        tree.add_layer(0, entries).unwrap();
        let Image { inspected, config, .. } =
            image(&[("usr/bin/app", elf("", &["l"], &[])), ("lib/l", text(""))], &["app"]);
        let Searched::Found(files) =
            needed_files(&config, &tree, &inspected, &mut Effort::default())
        else {
            panic!()
        };
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path, "/lib/l");
    }

    #[test]
    fn a_search_that_costs_too_much_ends_with_what_it_has() {
        let names: Vec<String> = (0..300).map(|number| format!("usr/bin/p{number}")).collect();
        let files: Vec<(&str, Inspected)> =
            names.iter().map(|name| (name.as_str(), text(""))).collect();
        let mut image = image(&files, &[]);
        let folder = format!("/{}", "a/".repeat(2000));
        image.config.path = vec![folder; 40];
        image.config.path.push("/usr/bin".to_owned());
        image.config.arguments = (0..300).map(|number| format!("p{number}")).collect();
        let mut effort = Effort::default();
        let mut known = BTreeMap::new();
        let mut calls = 0;
        let found = loop {
            calls += 1;
            match needed_files(&image.config, &image.tree, &known, &mut effort) {
                Searched::Found(files) => break files.len(),
                Searched::Inspect(file) => {
                    known.insert(file.place, image.inspected[&file.place].clone());
                }
            }
        };
        assert!(effort.0 < 6000 && calls < 100 && found < 100, "{} {calls} {found}", effort.0);
    }

    #[test]
    fn a_configuration_that_includes_everything_again_and_again_ends() {
        let names: Vec<String> = (0..2000).map(|number| format!("etc/d/n/{number}")).collect();
        let include = text(&"include /etc/d/*\ninclude /etc/d/n/*\n".repeat(100));
        let mut files = vec![
            ("usr/bin/app", elf("", &["liba.so"], &[])),
            ("etc/ld.so.conf", include.clone()),
            ("lib/liba.so", elf("", &[], &[])),
        ];
        files.extend(names.iter().map(|name| (name.as_str(), include.clone())));
        let Image { tree, inspected, config } = image(&files, &["app"]);
        let mut effort = Effort::default();
        let searched = needed_files(&config, &tree, &inspected, &mut effort);
        assert!(matches!(searched, Searched::Found(files) if files.len() == 2));
        // All files that were passed over have been paid for, and no more are waited for than are read.
        assert!(effort.0 < MAX_EFFORT - MAX_CONF * names.len(), "{}", effort.0);
        while effort.0 > 0 {
            let before = effort.0;
            needed_files(&config, &tree, &inspected, &mut effort);
            assert!(effort.0 < before);
        }
    }
}
