-- Statements outside and inside transactions, bodies with semicolons, COPY, and a control word in every disguise.
CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, price numeric);
INSERT INTO item (name, price) VALUES ('a;b', 1), ($$c'd$$, 2); INSERT INTO item (name) VALUES (E'it\'s; COMMIT');
BEGIN;
CREATE TABLE part (item_id int REFERENCES item DEFERRABLE INITIALLY DEFERRED, name text);
INSERT INTO part VALUES (4, 'before its item');
INSERT INTO item (name, price) VALUES ('late', 4);
COMMIT;
COPY part (item_id, name) FROM STDIN;
1	bolt
2	nut; with a semicolon
\.
BEGIN; DROP TABLE part; ROLLBACK;
BEGIN;
SAVEPOINT one;
INSERT INTO item (name) VALUES ('undone');
ROLLBACK TO one;
COMMIT;
/* BEGIN; /* nested */ COMMIT; */
CREATE FUNCTION item_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM item;';
CREATE INDEX CONCURRENTLY item_name ON item (name);
SET search_path = public, pg_catalog;
CREATE VIEW priced AS SELECT name, price FROM item WHERE price IS NOT NULL;
SELECT count(*) FROM priced \gset
CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS n;
