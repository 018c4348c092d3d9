-- +goose Up

-- How far the topic audit is written. There is no row before the first change is.
CREATE TABLE audit_position (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- The newest revision of which, and of all below, a record was acknowledged.
    revision   INTEGER NOT NULL,
    -- The process that writes, and until when in milliseconds since 1970: another one may then.
    holder     TEXT NOT NULL DEFAULT '',
    held_until INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What became of one resource.
CREATE INDEX revisions_by_name ON revisions (name, revision);
