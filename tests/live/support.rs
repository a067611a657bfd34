//! Servers shared by the suite; a database, a slot and labels for each test.
