//! The modules of a crate, what each defines, and which file a name leads to.
//!
//! This follows names as the compiler does, as far as the text alone goes: through `crate`, `self` and
//! `super`, child modules, `use` with its renames and globs, and what is handed on by `pub use`. Its
//! limits: a method or a trait's item that is called on a value leads nowhere, a name made by a macro
//! is unknown, and of a macro's arguments only paths with `::` are seen.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

use crate::tree::Package;

/// How far a name is followed from `use` to `use`.
const MAX_STEPS: usize = 32;

/// When code is compiled.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Purpose {
    /// Always.
    Product,
    /// With the feature `testing`: helpers that tests of other crates use.
    Helper,
    /// In this crate's own tests.
    Test,
}

/// What attributes say about it.
pub(crate) fn purpose(attributes: &[Attribute]) -> Purpose {
    let of = |attribute: &Attribute| {
        if attribute.path().is_ident("test") {
            return Purpose::Test;
        }
        let syn::Meta::List(list) = &attribute.meta else { return Purpose::Product };
        let condition = list.tokens.to_string();
        if !list.path.is_ident("cfg") || condition.starts_with("not") {
            Purpose::Product
        } else if condition == "test" || condition.starts_with("all (test") {
            Purpose::Test
        } else if condition.contains("\"testing\"") {
            Purpose::Helper
        } else {
            Purpose::Product
        }
    };
    attributes.iter().map(of).max().unwrap_or(Purpose::Product)
}

/// One `mod`, with a file of its own or without.
#[derive(Debug)]
struct Module {
    file: String,
    parent: usize,
    children: BTreeMap<String, usize>,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    mentions: Vec<Mention>,
}

/// One name that a `use` brings in.
#[derive(Clone, Debug)]
struct Import {
    path: Vec<String>,
    /// None for a glob.
    name: Option<String>,
    /// `pub use` hands a name on. That alone is no need of it.
    handed_on: bool,
    line: usize,
    purpose: Purpose,
}

/// A path as it stands in the code, with all its segments.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) purpose: Purpose,
}

/// All modules that one `lib.rs` or `main.rs` leads to, its tests left out. The first is that file.
#[derive(Debug)]
pub(crate) struct Modules(Vec<Module>);

impl Modules {
    /// The trees of a package: one for its library, one for its program.
    pub(crate) fn of(package: &Package) -> Vec<Self> {
        ["lib.rs", "main.rs"]
            .into_iter()
            .filter_map(|root| {
                let folder = format!("{}/src", package.folder);
                let file = format!("{folder}/{root}");
                let items = parse(&file, package.files.get(&file)?).items;
                let mut modules = Self(Vec::new());
                modules.add(package, &items, (&file, &folder), 0, Purpose::Product);
                Some(modules)
            })
            .collect()
    }

    fn add(
        &mut self,
        package: &Package,
        items: &[Item],
        (file, folder): (&str, &str),
        parent: usize,
        purpose_of_module: Purpose,
    ) -> usize {
        let index = self.0.len();
        let mut reader =
            Reader { purpose: purpose_of_module, imports: Vec::new(), mentions: Vec::new() };
        for item in items {
            reader.visit_item(item);
        }
        self.0.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            defined: items.iter().filter_map(definition).collect(),
            imports: reader.imports,
            mentions: reader.mentions,
        });
        for item in items {
            let Item::Mod(child) = item else { continue };
            let purpose = purpose(&child.attrs).max(purpose_of_module);
            if purpose == Purpose::Test {
                continue;
            }
            let name = child.ident.to_string();
            let below = format!("{folder}/{name}");
            let added = if let Some((_, items)) = &child.content {
                self.add(package, items, (file, &below), index, purpose)
            } else {
                let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
                let Some(file) = candidates.iter().find(|own| package.files.contains_key(*own))
                else {
                    panic!("{file} declares {name}, which has no file");
                };
                let items = parse(file, &package.files[file]).items;
                self.add(package, &items, (file, &below), index, purpose)
            };
            self.0[index].children.insert(name, added);
        }
        index
    }

    /// Which file of the crate needs which other one, and by what names.
    pub(crate) fn needs(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut needs: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (index, module) in self.0.iter().enumerate() {
            let imports = module.imports.iter().filter(|import| !import.handed_on);
            // A lone name of a module is a local variable that is called the same.
            let mentions = module.mentions.iter().filter(|mention| {
                mention.path.len() > 1 || !module.children.contains_key(&mention.path[0])
            });
            let paths = imports.map(|import| &import.path);
            for path in paths.chain(mentions.map(|mention| &mention.path)) {
                let Some(target) = self.resolve(index, path, 0) else { continue };
                let file = &self.0[target].file;
                if *file != module.file {
                    let name = path.last().cloned().unwrap_or_default();
                    needs.entry((module.file.clone(), file.clone())).or_default().insert(name);
                }
            }
        }
        needs
    }

    /// Every path that leads out of the crate, in full, with the file it stands in.
    pub(crate) fn foreign(&self) -> Vec<(&str, Mention)> {
        let mut found = Vec::new();
        for module in &self.0 {
            for import in &module.imports {
                let Import { path, line, purpose, .. } = import.clone();
                found.push((&*module.file, Mention { path, line, purpose }));
            }
            for mention in &module.mentions {
                let named = |import: &&Import| import.name.as_ref() == mention.path.first();
                let mut mention = mention.clone();
                if let Some(import) = module.imports.iter().find(named) {
                    mention.path.splice(..1, import.path.iter().cloned());
                }
                found.push((&*module.file, mention));
            }
        }
        found
    }

    /// The module that defines what a path names, seen from a module; none if it is of another crate.
    fn resolve(&self, from: usize, path: &[String], steps: usize) -> Option<usize> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (0, &path[1..]),
            "self" => (from, &path[1..]),
            _ => (from, path),
        };
        while rest.first().is_some_and(|name| name == "super") {
            (at, rest) = (self.0[at].parent, &rest[1..]);
        }
        if rest.is_empty() { Some(at) } else { self.find(at, rest, steps) }
    }

    fn find(&self, at: usize, path: &[String], steps: usize) -> Option<usize> {
        if steps > MAX_STEPS {
            return None;
        }
        let module = &self.0[at];
        let (name, rest) = path.split_first()?;
        if let Some(child) = module.children.get(name) {
            return if rest.is_empty() { Some(*child) } else { self.find(*child, rest, steps) };
        }
        if module.defined.contains(name) {
            return Some(at);
        }
        if let Some(import) =
            module.imports.iter().find(|import| import.name.as_ref() == Some(name))
        {
            let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            return self.resolve(at, &path, steps + 1);
        }
        let globs = module.imports.iter().filter(|import| import.name.is_none());
        globs
            .filter_map(|glob| self.resolve(at, &glob.path, steps + 1))
            .find_map(|module| if module == at { None } else { self.find(module, path, steps + 1) })
    }
}

/// The syntax of a file.
pub(crate) fn parse(file: &str, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The name of a definition that other modules can take.
fn definition(item: &Item) -> Option<String> {
    let (name, attributes) = match item {
        Item::Const(item) => (&item.ident, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.attrs),
        Item::Fn(item) => (&item.sig.ident, &item.attrs),
        Item::Macro(item) => (item.ident.as_ref()?, &item.attrs),
        Item::Static(item) => (&item.ident, &item.attrs),
        Item::Struct(item) => (&item.ident, &item.attrs),
        Item::Trait(item) => (&item.ident, &item.attrs),
        Item::Type(item) => (&item.ident, &item.attrs),
        Item::Union(item) => (&item.ident, &item.attrs),
        _ => return None,
    };
    (purpose(attributes) != Purpose::Test).then(|| name.to_string())
}

/// Gathers the imports and paths of one module, its tests and its child modules left out.
struct Reader {
    purpose: Purpose,
    imports: Vec<Import>,
    mentions: Vec<Mention>,
}

impl Reader {
    /// Reads a part that its attributes may keep for tests.
    fn part(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let around = self.purpose;
        self.purpose = purpose(attributes).max(around);
        if self.purpose != Purpose::Test {
            read(self);
        }
        self.purpose = around;
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        self.mentions.push(Mention { path, line, purpose: self.purpose });
    }

    fn import(&mut self, tree: &UseTree, path: &[String], handed_on: bool) {
        let with = |name: &proc_macro2::Ident| {
            let mut path = path.to_vec();
            if name != "self" || path.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        let (path, name, line) = match tree {
            UseTree::Path(part) => return self.import(&part.tree, &with(&part.ident), handed_on),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, path, handed_on));
            }
            UseTree::Name(part) => {
                let path = with(&part.ident);
                let name = path.last().cloned();
                (path, name, part.ident.span().start().line)
            }
            UseTree::Rename(part) => {
                let name = Some(part.rename.to_string());
                (with(&part.ident), name, part.ident.span().start().line)
            }
            UseTree::Glob(part) => (path.to_vec(), None, part.star_token.spans[0].start().line),
        };
        self.imports.push(Import { path, name, handed_on, line, purpose: self.purpose });
    }

    /// The paths among a macro's arguments: names that `::` joins.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut line = 0;
        let mut all = tokens.into_iter().peekable();
        while let Some(token) = all.next() {
            match &token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        path.clear();
                        line = name.span().start().line;
                    }
                    path.push(name.to_string());
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            colons = 0;
            let goes_on =
                matches!(all.peek(), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
            if !goes_on || !matches!(token, TokenTree::Ident(_)) {
                if path.len() > 1 {
                    self.mention(std::mem::take(&mut path), line);
                }
                path.clear();
            }
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes: &[Attribute] = match item {
            // A module of its own.
            Item::Mod(_) => return,
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        self.part(attributes, |reader| syn::visit::visit_item(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.part(&item.attrs, |reader| syn::visit::visit_impl_item_fn(reader, item));
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        self.part(&field.attrs, |reader| syn::visit::visit_field(reader, field));
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.mention(segments, path.segments[0].ident.span().start().line);
        syn::visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'a Visibility) {
        // `pub(super)` gives; it takes nothing.
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {
        // A derive or a lint is no need of a file.
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}
