//! Seeded histories with crashes against the in-memory graph.
