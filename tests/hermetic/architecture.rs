//! The directions of imports, as a table.
