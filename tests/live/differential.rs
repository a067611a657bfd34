//! Random transactions through the real pipeline.
