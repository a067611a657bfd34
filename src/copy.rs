//! The copy of tables beside the stream: chunks, the hold, and what it leaves to read again.
