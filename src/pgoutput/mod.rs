//! The `pgoutput` protocol, version 1: bytes in, messages out.
