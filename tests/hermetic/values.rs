//! The codec, value by value.
