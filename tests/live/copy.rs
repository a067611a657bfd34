//! The copy beside the stream.
