//! The configuration file: raw YAML first, then what it means.
