//! The fuzz targets on what they begin with, and on what once found a bug.
//!
//! `DAMAGED=n` tries more damaged copies of each file, `SEED=n` others.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use fastrand::Rng;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// How many damaged copies of each file are tried.
const DAMAGED: u64 = 200;

fn given(name: &str) -> Option<u64> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One to four bytes are replaced, removed, doubled or swapped.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..5) {
        let Some(at) = (!bytes.is_empty()).then(|| rng.usize(..bytes.len())) else { return };
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, bytes[at]),
            _ => {
                let other = rng.usize(..bytes.len());
                bytes.swap(at, other);
            }
        }
    }
}

fn each_file_and_damaged_copies_of_it(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut rng = Rng::with_seed(given("SEED").unwrap_or(7));
    let copies = given("DAMAGED").unwrap_or(DAMAGED);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        target(&bytes);
        for _ in 0..copies {
            let mut damaged = bytes.clone();
            damage(&mut damaged, &mut rng);
            let survived = catch_unwind(AssertUnwindSafe(|| target(&damaged)));
            assert!(survived.is_ok(), "like {}: {damaged:?}", path.display());
        }
        files += 1;
    }
    assert!(files > 1, "{} has nothing to begin with", folder.display());
}

#[test]
fn pgoutput() {
    each_file_and_damaged_copies_of_it("pgoutput", targets::pgoutput);
}

#[test]
fn envelope() {
    each_file_and_damaged_copies_of_it("envelope", targets::envelope);
}

#[test]
fn array() {
    each_file_and_damaged_copies_of_it("array", targets::array);
}

#[test]
fn numeric() {
    each_file_and_damaged_copies_of_it("numeric", targets::numeric);
}

#[test]
fn configuration() {
    each_file_and_damaged_copies_of_it("configuration", targets::configuration);
}
