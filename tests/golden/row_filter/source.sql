-- A row filter turns updates into inserts and deletes; a column list leaves columns out.
CREATE TABLE documents (id integer PRIMARY KEY, body text, secret text);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE root (id integer PRIMARY KEY, kind integer) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (1000);
CREATE PUBLICATION golden FOR TABLE documents (id, body) WHERE (id < 100), TABLE root
    WITH (publish_via_partition_root = true);
-- recorded
INSERT INTO documents VALUES (1, 'seen', 's'), (101, repeat('0123456789', 250), 's');
UPDATE documents SET id = 102 WHERE id = 1;
-- Into the filter with a TOAST value that was not touched: an Insert with an unchanged value.
UPDATE documents SET id = 2 WHERE id = 101;
UPDATE documents SET secret = 'other' WHERE id = 2;
INSERT INTO root VALUES (1, 1);
UPDATE root SET id = 2;
TRUNCATE root;
