-- Keys of several columns, in another order than the table's; foreign keys that cascade.
CREATE TABLE orders (note text, number integer, region char(4), PRIMARY KEY (region, number));
CREATE TABLE items (line integer, region char(4), number integer, sku uuid,
    PRIMARY KEY (region, number, line),
    FOREIGN KEY (region, number) REFERENCES orders ON UPDATE CASCADE ON DELETE CASCADE);
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
BEGIN;
INSERT INTO orders VALUES ('first', 1, 'EU');
INSERT INTO items VALUES
    (1, 'EU', 1, '00000000-0000-0000-0000-000000000001'), (2, 'EU', 1, NULL);
COMMIT;
UPDATE orders SET number = 2 WHERE number = 1;
UPDATE items SET line = line + 10;
-- The parent's delete comes before the children's.
DELETE FROM orders;
