-- Unchanged TOAST values: absent under the default identity, in the old row under FULL.
CREATE TABLE documents (id integer PRIMARY KEY, title text, body text);
CREATE TABLE archive (id integer PRIMARY KEY, title text, body text);
CREATE TABLE wide_keys (key text PRIMARY KEY, note text);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
ALTER TABLE archive ALTER body SET STORAGE EXTERNAL;
ALTER TABLE archive REPLICA IDENTITY FULL;
ALTER TABLE wide_keys ALTER key SET STORAGE EXTERNAL;
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO documents VALUES (1, 'a', repeat('0123456789', 250));
UPDATE documents SET title = 'b' WHERE id = 1;
UPDATE documents SET id = 2 WHERE id = 1;
UPDATE documents SET body = NULL WHERE id = 2;
INSERT INTO archive VALUES (1, 'a', repeat('0123456789', 250));
UPDATE archive SET title = 'b' WHERE id = 1;
DELETE FROM archive;
INSERT INTO wide_keys VALUES (repeat('0123456789', 220), 'a');
UPDATE wide_keys SET note = 'b';
DELETE FROM wide_keys;
