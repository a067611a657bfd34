//! One module a command that answers and ends: words and reports. What lives longer is a service.

pub mod check;
pub mod counts;
pub mod dead_letters;
pub mod destroy;
pub mod init;
pub mod plan;
pub mod reconcile;
#[cfg(feature = "kafka")]
pub mod replay;
pub mod shell;
pub mod status;
pub mod wait;

use std::io::{self, Write};

use crate::service::ServiceError;

/// Writes a result to stdout.
fn print(text: &str) -> Result<(), ServiceError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    Ok(stdout.flush()?)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), ServiceError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&text)
}
