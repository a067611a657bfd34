//! The writer: transactions, checkpoint, fencing, retries.
