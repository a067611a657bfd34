//! Neo4j: connections, transactions, the checkpoint.
