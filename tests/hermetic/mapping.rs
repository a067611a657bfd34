//! Catalogs to mappings, changes to events.
