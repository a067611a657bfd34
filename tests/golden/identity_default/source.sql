-- Every row operation under the default replica identity.
CREATE TABLE customers (id integer PRIMARY KEY, name text, credit numeric(8, 2), active boolean);
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO customers VALUES (1, 'Ada', 12.50, true), (2, '', NULL, false);
UPDATE customers SET name = NULL WHERE id = 1;
UPDATE customers SET id = 3, name = 'Bob' WHERE id = 2;
UPDATE customers SET name = name WHERE id = 3;
DELETE FROM customers WHERE id = 1;
-- A rolled back transaction and savepoint send nothing of theirs.
BEGIN; INSERT INTO customers VALUES (9, 'never', 0, true); ROLLBACK;
BEGIN;
INSERT INTO customers VALUES (4, 'kept', 1, true);
SAVEPOINT half;
DELETE FROM customers;
ROLLBACK TO half;
UPDATE customers SET id = id + 10;
COMMIT;
-- One key inserted, changed, deleted and inserted again in one transaction.
BEGIN;
INSERT INTO customers VALUES (5, 'a', 1, true);
UPDATE customers SET name = 'b' WHERE id = 5;
DELETE FROM customers WHERE id = 5;
INSERT INTO customers VALUES (5, 'c', NULL, NULL);
COMMIT;
