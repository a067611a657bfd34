//! Publication and slot: made, checked, described.
