// The rights that wal2graph needs on a graph, and no more. For Neo4j Enterprise, as an administrator:
//
//   cypher-shell -d system -P "{password: '...'}" -f role.cypher
//
// Community Edition has one kind of user: it may do everything. Not tried: the project's tests run Community Edition.
CREATE USER wal2graph IF NOT EXISTS SET PASSWORD $password CHANGE NOT REQUIRED;
CREATE ROLE wal2graph IF NOT EXISTS;
GRANT ROLE wal2graph TO wal2graph;

GRANT ACCESS ON DATABASE neo4j TO wal2graph;
// Rows, relationships and the checkpoint.
GRANT MATCH {*} ON GRAPH neo4j TO wal2graph;
GRANT WRITE ON GRAPH neo4j TO wal2graph;
GRANT NAME MANAGEMENT ON DATABASE neo4j TO wal2graph;
// The constraints of the keys, and indexes for references. It shows, makes and, with `destroy`, drops them.
GRANT CONSTRAINT MANAGEMENT ON DATABASE neo4j TO wal2graph;
GRANT INDEX MANAGEMENT ON DATABASE neo4j TO wal2graph;
// A new instance ends what its predecessor has left open: transactions of the same user, and of no other.
GRANT SHOW TRANSACTION (wal2graph) ON DATABASE neo4j TO wal2graph;
GRANT TERMINATE TRANSACTION (wal2graph) ON DATABASE neo4j TO wal2graph;
// db.info, db.labels, db.createProperty and the like, and the size of the plan cache.
GRANT EXECUTE PROCEDURE * ON DBMS TO wal2graph;
GRANT SHOW SETTING server.memory.query_cache.* ON DBMS TO wal2graph;
