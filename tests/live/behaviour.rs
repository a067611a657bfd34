//! What PostgreSQL sends in ways that trip implementers, through the program into Neo4j.

mod constraints;
mod equality;
mod others;
mod stored;
mod tables;
mod values;
