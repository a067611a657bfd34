//! The catalog of a real PostgreSQL, and the mapping inferred from it.
