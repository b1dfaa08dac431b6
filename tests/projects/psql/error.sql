-- Without ON_ERROR_STOP psql goes on after the error, and ends with 0.
CREATE TABLE first (id int PRIMARY KEY);
BEGIN;
INSERT INTO first VALUES (1);
INSERT INTO first VALUES (1);
INSERT INTO first VALUES (2);
COMMIT;
INSERT INTO nowhere VALUES (1);
CREATE TABLE second (id int REFERENCES first DEFERRABLE INITIALLY DEFERRED);
INSERT INTO second VALUES (7);
CREATE TABLE third (id int);
