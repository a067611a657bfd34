-- The rights that wal2graph needs on the source, and no more. `wal2graph check --sql` prints them for the tables of one
-- configuration, with its names. As a superuser, in the database:
--
--   psql -v ON_ERROR_STOP=1 -d shop -f role.sql
--
-- Change `wal2graph` (the role) and `public` (the schema) where yours have other names. The password is set apart, so
-- that it is in no file: \password wal2graph

-- On Amazon RDS and Aurora: CREATE ROLE wal2graph LOGIN; GRANT rds_replication TO wal2graph;
CREATE ROLE wal2graph LOGIN REPLICATION;
-- Only where CONNECT was taken from everybody:
-- GRANT CONNECT ON DATABASE shop TO wal2graph;

-- It reads the tables, and writes nothing.
GRANT USAGE ON SCHEMA public TO wal2graph;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wal2graph;
-- Tables that the role that runs this makes later. Other owners: ALTER DEFAULT PRIVILEGES FOR ROLE owner ...
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO wal2graph;

-- The publication is made by the tables' owner: to make it, the role would have to own them. `wal2graph check` prints
-- the whole statement. FOR ALL TABLES is not a good choice: an UPDATE of a published table without a key fails.

-- Only under row level security: what is hidden from the role would be missing in the graph, so wal2graph refuses to start.
-- ALTER ROLE wal2graph BYPASSRLS;
