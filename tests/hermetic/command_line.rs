//! Help texts, exit codes, output streams.
