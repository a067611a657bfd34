-- Names that need quotes, and text that is not ASCII.
CREATE SCHEMA "Über Schema";
CREATE TABLE "Über Schema"."Bestell-Größe ""x""" ("Schlüssel 1" text PRIMARY KEY, "select" text,
    "日本語" text, "`back`tick" text);
CREATE TABLE "camelCase" ("orderId" integer PRIMARY KEY, "a.b" text);
CREATE PUBLICATION golden FOR ALL TABLES;
-- recorded
INSERT INTO "Über Schema"."Bestell-Größe ""x""" VALUES
    ('ключ', E'tab\tline\nquote"', '日本', '🦀'), ('', NULL, ' ', E'\\N');
UPDATE "Über Schema"."Bestell-Größe ""x""" SET "Schlüssel 1" = 'κλειδί' WHERE "Schlüssel 1" = '';
DELETE FROM "Über Schema"."Bestell-Größe ""x""" WHERE "select" IS NULL;
INSERT INTO "camelCase" VALUES (1, 'x');
