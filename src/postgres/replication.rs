//! The replication connection: CopyBoth, feedback, every end of stream.
