//! Every Cypher statement on a real Neo4j, against the in-memory graph.
