//! A machine that has no more memory for the program.

use std::{fs, process::Command};

/// A page of memory, in bytes.
const PAGE: u64 = 4096;

/// The address space that a process has, in bytes; none where it has ended.
pub fn of(id: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    Some(pages.split(' ').next()?.parse::<u64>().ok()? * PAGE)
}

/// The process gets no more than so many bytes.
pub fn limit(id: u32, bytes: u64) {
    set(id, &bytes.to_string());
}

/// It gets what it asks for.
pub fn give_back(id: u32) {
    set(id, "unlimited");
}

/// The hard limit stays, so that this can be taken back.
fn set(id: u32, soft: &str) {
    let arguments = ["--pid", &id.to_string(), &format!("--as={soft}:")];
    let output = Command::new("prlimit").args(arguments).output().expect("util-linux");
    // The process may have ended.
    print!("{}", String::from_utf8_lossy(&output.stderr));
}
