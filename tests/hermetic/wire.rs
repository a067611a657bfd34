//! The pgoutput decoder: any bytes.
