//! No files of `src` import each other in a circle.
//!
//! It reads imports as text, like [`crate::architecture`]. A re-export leads to the file that has the
//! item. A file may use what the `mod.rs` of its own folders has: the folder uses its files, and that
//! is no circle.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use crate::architecture::{
    is_word, source_files, source_root, without_comments_and_text, without_tests,
};

/// The path of a module below the crate, or of an item in one.
type Names = Vec<String>;

/// Files that may import each other. Arrays have composites as items, which have arrays as fields; a range
/// quotes its bounds as a composite does.
const RECURSIVE: &[&[&str]] = &[
    &["value/array.rs", "value/geometry.rs", "value/json.rs", "value/parse.rs"],
    &["value/canonical.rs", "value/range.rs"],
];

/// How often a re-export may lead to another one.
const REEXPORTS_MAX: usize = 6;

/// The files of a crate, by module.
#[derive(Default)]
struct Crate {
    files: BTreeMap<Names, File>,
}

#[derive(Default)]
struct File {
    path: String,
    /// What its paths lead to, as they are written, from the crate's root.
    uses: Vec<Names>,
    /// What it hands on, by name.
    handed_on: BTreeMap<String, Names>,
}

impl Crate {
    /// Reads files: the path below `src`, and the text.
    fn of<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Crate {
        let mut house = Crate::default();
        let mut codes = Vec::new();
        for (path, source) in sources {
            let module = module_of(path);
            let file = File { path: path.to_owned(), ..File::default() };
            house.files.insert(module.clone(), file);
            codes.push((module, without_tests(&without_comments_and_text(source))));
        }
        for (module, code) in codes {
            let (statements, rest) = use_statements(&code);
            let (mut uses, mut handed_on, mut aliases) =
                (Vec::new(), BTreeMap::new(), BTreeMap::new());
            for (is_public, tree) in statements {
                for (path, name) in leaves(&tree) {
                    let Some(path) = house.absolute(&module, path) else { continue };
                    if is_public {
                        handed_on.insert(name, path);
                        continue;
                    }
                    if house.files.contains_key(&path) {
                        aliases.insert(name, path.clone());
                    }
                    uses.push(path);
                }
            }
            for path in paths(&rest) {
                let first = &path[0];
                match aliases.get(first) {
                    Some(module) => uses.push([module, &path[1..]].concat()),
                    None => uses.extend(house.absolute(&module, path)),
                }
            }
            let file = house.files.get_mut(&module).unwrap();
            (file.uses, file.handed_on) = (uses, handed_on);
        }
        house
    }

    /// A path from the crate's root. `None`: it leads out of the crate, or to the file's own items.
    fn absolute(&self, module: &Names, path: Names) -> Option<Names> {
        match path.first().map(String::as_str)? {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|name| *name == "super").count();
                let kept = module.len().checked_sub(up)?;
                Some([&module[..kept], &path[up..]].concat())
            }
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                self.files.contains_key(&child).then(|| [module, path.as_slice()].concat())
            }
        }
    }

    /// The module whose item a path names.
    fn home_of(&self, path: &[String], reexports: usize) -> Option<Names> {
        let module = (0..=path.len()).rev().map(|end| &path[..end]);
        let module = module.into_iter().find(|it| self.files.contains_key(*it))?;
        let item = path.get(module.len())?;
        match self.files[module].handed_on.get(item) {
            Some(handed) if reexports < REEXPORTS_MAX => {
                self.home_of(&[handed, &path[module.len() + 1..]].concat(), reexports + 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// The files that each file imports from.
    fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let of = |(module, file): (&Names, &File)| {
            let homes = file.uses.iter().filter_map(|path| self.home_of(path, 0));
            let others = homes.filter(|home| !module.starts_with(home));
            others.map(|home| self.files[&home].path.as_str()).collect()
        };
        self.files.iter().map(|it| (it.1.path.as_str(), of(it))).collect()
    }

    /// Groups of files that lead to each other.
    fn circles(&self) -> Vec<Vec<&str>> {
        let arrows = self.arrows();
        let reach = |from: &str| {
            let (mut seen, mut open) =
                (BTreeSet::new(), arrows[from].iter().copied().collect::<Vec<_>>());
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    open.extend(&arrows[next]);
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            arrows.keys().map(|file| (*file, reach(file))).collect();
        let circle = |file: &str| {
            let others = reached[file].iter().copied();
            others.filter(|other| reached[other].contains(file)).collect::<Vec<_>>()
        };
        let circles: BTreeSet<_> = reached.keys().map(|file| circle(file)).collect();
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }
}

/// `kafka/mod.rs` and `kafka.rs` are the module `kafka`.
fn module_of(path: &str) -> Names {
    let names = path.trim_end_matches(".rs").split('/');
    let mut names: Names = names.map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// The `use` statements, whether each is public, and the code without them.
fn use_statements(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut statements, mut rest, mut open) = (Vec::new(), String::new(), None::<(bool, String)>);
    for line in code.lines() {
        let trimmed = line.trim_start();
        if open.is_none() {
            let (is_public, text) = match trimmed.strip_prefix("pub") {
                None => (false, trimmed),
                Some(text) => (true, text.split_once(") ").map_or(text, |it| it.1).trim_start()),
            };
            match text.strip_prefix("use ") {
                Some(text) => open = Some((is_public, text.to_owned())),
                None => rest.extend([line, "\n"]),
            }
        } else if let Some((_, tree)) = &mut open {
            tree.push_str(trimmed);
        }
        if let Some((is_public, tree)) = open.take_if(|(_, tree)| tree.trim_end().ends_with(';')) {
            statements.push((is_public, tree.trim_end().trim_end_matches(';').to_owned()));
        }
    }
    (statements, rest)
}

/// The paths of a tree, each with the name that it brings.
fn leaves(tree: &str) -> Vec<(Names, String)> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |it| (it.0, Some(it.1)));
        let mut path: Names = path.trim().split("::").map(|it| it.trim().to_owned()).collect();
        if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        let name = alias.map(|it| it.trim().to_owned()).or_else(|| path.last().cloned());
        return name.map(|name| (path, name)).into_iter().collect();
    };
    let group = group.rsplit_once('}').map_or(group, |it| it.0);
    let head: Names =
        head.split("::").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let (mut depth, mut entry, mut found) = (0, String::new(), Vec::new());
    for character in group.chars().chain([',']) {
        match character {
            ',' if depth == 0 => {
                let entries = std::mem::take(&mut entry);
                if !entries.trim().is_empty() {
                    let below = leaves(&entries).into_iter();
                    found.extend(below.map(|(path, name)| {
                        // `module::{self}` names the module.
                        let path = if path == ["self"] { Vec::new() } else { path };
                        let name = if name == "self" {
                            head.last().cloned().unwrap_or_default()
                        } else {
                            name
                        };
                        ([head.as_slice(), &path].concat(), name)
                    }));
                }
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        entry.push(character);
    }
    found
}

/// The paths of two names and more.
fn paths(code: &str) -> Vec<Names> {
    let words = code.split(|character: char| !is_word(character) && character != ':');
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths.map(|path| path.split("::").map(|it| it.trim_matches(':').to_owned()).collect()).collect()
}

/// The files of `src`: the path, and the text.
fn sources() -> Vec<(String, String)> {
    let files =
        source_files().into_iter().filter(|(module, _)| module != "lib" && module != "main");
    let text = |(_, path): (String, PathBuf)| {
        let name = path.strip_prefix(source_root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    files.map(text).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let house = Crate::of(sources.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let circles = house.circles();
    let unknown: Vec<_> = circles.iter().filter(|it| !RECURSIVE.contains(&it.as_slice())).collect();
    let arrows = house.arrows();
    let tell = |circle: &&Vec<&str>| {
        let lines = circle.iter().map(|file| {
            let others = arrows[file].iter().filter(|it| circle.contains(it));
            format!("  {file} imports {:?}", others.collect::<Vec<_>>())
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(
        unknown.is_empty(),
        "circles:\n{}",
        unknown.iter().map(tell).collect::<Vec<_>>().join("\n\n")
    );
    let gone = RECURSIVE.iter().find(|known| !circles.iter().any(|it| it.as_slice() == **known));
    assert_eq!(gone, None, "these are a circle no more");
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let circles = |sources: &[(&str, &str)]| {
        let house = Crate::of(sources.iter().copied());
        let circles = house.circles();
        circles
            .into_iter()
            .map(|it| it.into_iter().map(str::to_owned).collect())
            .collect::<Vec<Vec<String>>>()
    };
    let seen = |sources: &[(&str, &str)]| circles(sources) == [["a/x.rs", "a/y.rs"]];
    let of_x = ("a/x.rs", "use super::y::Y;");
    let module = ("a/mod.rs", "mod x;\nmod y;\npub use x::X;\n");
    for of_y in [
        "use crate::a::x::X;",
        "use crate::{a::{mod_b, x::{self, Z}}};\nfn f() { x::f() }",
        "use super::X;",
        "use super::{x, z};\nfn f() { x::f() }",
        "fn f() -> crate::a::x::X { todo!() }",
        "fn f() { super::x::f::<super::x::X>() }",
    ] {
        assert!(seen(&[module, of_x, ("a/y.rs", of_y)]), "{of_y}");
    }
    for of_y in [
        "// use super::X;",
        "#[cfg(test)]\nmod tests { use super::super::X; }",
        "use super::Own;",
        "use crate::b::X;",
        "use std::x::X;",
    ] {
        let found = circles(&[module, of_x, ("a/y.rs", of_y), ("b.rs", "")]);
        assert!(found.is_empty(), "{of_y}: {found:?}");
    }
}
