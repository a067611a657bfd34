-- pg_logical_emit_message inside and outside transactions, and changes of another origin.
CREATE TABLE t (id integer PRIMARY KEY);
CREATE PUBLICATION golden FOR ALL TABLES;
SELECT pg_replication_origin_create('upstream');
-- recorded
SELECT pg_logical_emit_message(false, 'heartbeat', 'alone');
BEGIN;
INSERT INTO t VALUES (1);
SELECT pg_logical_emit_message(true, 'note', 'with the row');
SELECT pg_logical_emit_message(false, 'heartbeat', '\x00ff'::bytea);
INSERT INTO t VALUES (2);
COMMIT;
BEGIN; SELECT pg_logical_emit_message(true, 'note', 'only a message'); COMMIT;
BEGIN; SELECT pg_logical_emit_message(true, 'gone', 'rolled back'); ROLLBACK;
SELECT pg_replication_origin_session_setup('upstream');
BEGIN;
SELECT pg_replication_origin_xact_setup('16/B374D848', '2026-11-21 04:00:00+00');
INSERT INTO t VALUES (3);
COMMIT;
