-- TRUNCATE of several tables, with and without options; what is not published is not named.
CREATE TABLE countries (id serial PRIMARY KEY, name text);
CREATE TABLE cities (id serial PRIMARY KEY, country integer REFERENCES countries);
CREATE TABLE streets (id serial PRIMARY KEY, city integer REFERENCES cities);
CREATE TABLE private (id serial PRIMARY KEY, city integer REFERENCES cities);
CREATE TABLE colours (id serial PRIMARY KEY);
CREATE PUBLICATION golden FOR TABLE countries, cities, streets, colours;
-- recorded
INSERT INTO countries (name) VALUES ('Peru');
TRUNCATE colours;
TRUNCATE countries CASCADE;
TRUNCATE colours, countries, cities, streets, private RESTART IDENTITY;
BEGIN;
INSERT INTO countries (name) VALUES ('Chad');
TRUNCATE countries RESTART IDENTITY CASCADE;
INSERT INTO countries (name) VALUES ('Mali');
COMMIT;
TRUNCATE private;
