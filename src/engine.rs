//! Batches, order and acknowledgements: the pure state machine between a source and a sink.
