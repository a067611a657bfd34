-- REPLICA IDENTITY USING INDEX: the old key is the index's columns, not the primary key's.
CREATE TABLE members (id integer PRIMARY KEY, club text NOT NULL, number integer NOT NULL, name text);
CREATE UNIQUE INDEX members_number ON members (number, club);
ALTER TABLE members REPLICA IDENTITY USING INDEX members_number;
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO members VALUES (1, 'chess', 7, 'Ada'), (2, 'go', 7, 'Bob');
UPDATE members SET id = 10 WHERE id = 1;
UPDATE members SET number = 8 WHERE id = 2;
DELETE FROM members WHERE club = 'chess';
