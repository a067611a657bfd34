//! Signals: finish what is in flight, then stop.
