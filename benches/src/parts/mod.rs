//! The measurements, one in each file.

pub mod big;
pub mod bounds;
pub mod copy;
pub mod drain;
pub mod growth;
pub mod small;
pub mod source;
pub mod steady;
pub mod topic;
pub mod verify;
pub mod wide;
