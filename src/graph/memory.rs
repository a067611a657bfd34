//! An in-memory graph that statements are applied to: the oracle for the Cypher that is sent.
