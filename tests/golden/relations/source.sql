-- Relation and Type messages: types of our own, a table that changes, partitions, nothing to send.
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN shop.percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE people (id integer PRIMARY KEY, mood shop.mood, share shop.percent, tags text[],
    moods shop.mood[], label varchar(20), twice integer GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE events (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE nothing (id integer PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE no_columns ();
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO people VALUES (1, 'ok', 50, '{a,"b c",NULL}', '{sad}', 'x');
ALTER TABLE people ADD COLUMN age smallint DEFAULT 7;
INSERT INTO people VALUES (2, 'sad', 0, '{}', NULL, 'y');
ALTER TABLE people DROP COLUMN tags, ALTER COLUMN label TYPE text;
BEGIN;
INSERT INTO people VALUES (3, NULL, NULL, NULL, NULL);
ALTER TABLE people RENAME COLUMN label TO nick;
INSERT INTO people VALUES (4, NULL, NULL, NULL, NULL);
COMMIT;
ALTER TABLE people REPLICA IDENTITY FULL;
UPDATE people SET nick = 'z' WHERE id = 4;
INSERT INTO events VALUES (1, '2025-12-31');
UPDATE events SET day = day + 1;
INSERT INTO nothing VALUES (1);
INSERT INTO no_columns DEFAULT VALUES;
