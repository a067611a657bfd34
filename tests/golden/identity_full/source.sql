-- Every row operation under REPLICA IDENTITY FULL, with and without a primary key.
CREATE TABLE products (id integer PRIMARY KEY, name text, price double precision);
CREATE TABLE log (at timestamp, line text);
ALTER TABLE products REPLICA IDENTITY FULL;
ALTER TABLE log REPLICA IDENTITY FULL;
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO products VALUES (1, 'tea', 3.5), (2, NULL, 'NaN');
UPDATE products SET price = NULL WHERE id = 1;
UPDATE products SET id = 20 WHERE id = 2;
DELETE FROM products WHERE id = 1;
INSERT INTO log VALUES ('2026-11-21 04:00:00.123456', 'one'), (NULL, NULL);
UPDATE log SET line = 'all';
DELETE FROM log;
