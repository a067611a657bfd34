#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wal2graph_fuzz::numeric(data));
