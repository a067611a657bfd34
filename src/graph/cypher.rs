//! The words: statements as Cypher text and rows.
