//! Finds a Java for a server.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, ServerError, process::run};

/// The oldest Java of these major versions, for `who`.
pub fn find(versions: RangeInclusive<u32>, who: &str) -> Result<PathBuf> {
    let found = candidates().into_iter().filter_map(|path| Some((version_of(&path)?, path)));
    let found = found.filter(|(version, _)| versions.contains(version)).min();
    found.map(|(_, path)| path).ok_or_else(|| {
        let least = versions.start();
        let install = match least {
            17 => "apt-get install openjdk-17-jre-headless".to_owned(),
            _ => format!("install a JDK {least} or newer"),
        };
        ServerError(format!("{who} needs Java {least} or newer, and none was found: {install}"))
    })
}

fn candidates() -> Vec<PathBuf> {
    let homes = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let homes = homes.map(|entry| entry.path()).chain(env::var_os("JAVA_HOME").map(PathBuf::from));
    let mut paths: Vec<PathBuf> = homes.map(|home| home.join("bin/java")).collect();
    paths.push("java".into());
    paths
}

/// The major version in the output of `java -version`: `openjdk version "17.0.15"`.
fn version_of(java: &Path) -> Option<u32> {
    let text = run(Command::new("sh").args(["-c", "\"$0\" -version 2>&1"]).arg(java)).ok()?;
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}
