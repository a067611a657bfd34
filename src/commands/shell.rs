//! `completions` and `man`: the command line's own texts, in the forms that shells and `man` read.

use std::{fs, io, path::Path};

use clap::CommandFactory;

use crate::{
    cli::{Cli, CompletionsArgs, ManArgs},
    service::ServiceError,
};

use super::print;

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<(), ServiceError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wal2graph", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Writes a page for the program and one for each command.
pub fn man(args: &ManArgs) -> Result<(), ServiceError> {
    let folder = &args.folder;
    write(folder).map_err(|error| {
        let folder = folder.display();
        ServiceError::Usage(format!(
            "the manual pages can not be written to {folder}: {error}. Name a folder that you may write to"
        ))
    })
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}
