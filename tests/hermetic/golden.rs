//! Recorded frames to changes to statements.
