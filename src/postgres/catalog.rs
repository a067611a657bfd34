//! Reads the catalog into [`crate::catalog`].
