//! What a service shows while it lives: its pages, what it looks at beside the pipeline, its progress
//! in the log.

pub mod budget;
mod checks;
mod looks;
pub mod progress;
#[cfg(feature = "kafka")]
pub mod replaying;
pub mod serve;
#[cfg(feature = "kafka")]
pub mod topics;
