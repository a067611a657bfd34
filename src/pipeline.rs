//! Source to sink: the loop that feeds the engine and does what it asks.
