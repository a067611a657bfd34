//! What goes and what stays, as the user is shown it.

use std::fmt;

use crate::service::ServiceError;

use super::print;

/// One thing.
struct Line {
    /// What kind of thing.
    what: &'static str,
    text: String,
}

/// Things in the order of their removal.
pub struct Plan {
    pub pipeline: String,
    pub goes: Lines,
    pub stays: Lines,
    /// How many things should go, and cannot.
    left: usize,
}

/// A list of things.
#[derive(Default)]
pub struct Lines(Vec<Line>);

impl Lines {
    pub fn add(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push(Line { what, text: text.into() });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Plan {
    pub fn new(pipeline: &str) -> Self {
        let (goes, stays) = Default::default();
        Plan { pipeline: pipeline.to_owned(), goes, stays, left: 0 }
    }

    /// It should go, and cannot; the text says why, and what does it.
    pub fn cannot_go(&mut self, what: &'static str, text: impl Into<String>) {
        self.left += 1;
        self.stays.add(what, text);
    }

    /// The same of a thing that was shown as one that goes.
    pub fn did_not_go(&mut self, what: &'static str, text: &str) -> Result<(), ServiceError> {
        self.left += 1;
        print(&format!("not removed: {what} {text}"))
    }

    /// The command's end.
    pub fn ended(&self) -> Result<(), ServiceError> {
        match self.left {
            0 => Ok(()),
            left => Err(ServiceError::Definite(format!(
                "{left} things of the pipeline {} could not be removed; what does it stands above",
                self.pipeline
            ))),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.goes.is_empty() {
            true => writeln!(f, "pipeline {}: there is nothing to remove", self.pipeline)?,
            false => writeln!(f, "pipeline {}\n\nThis goes:\n{}", self.pipeline, self.goes)?,
        }
        match self.stays.is_empty() {
            true => Ok(()),
            false => write!(f, "This stays:\n{}", self.stays),
        }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Line { what, text }| writeln!(f, "  {what:<14} {text}"))
    }
}
