-- +goose Up

-- How far the topic audit is written. There is no row before the first change is.
CREATE TABLE audit_position (
    id         SMALLINT PRIMARY KEY CHECK (id = 1),
    -- The newest revision of which, and of all below, a record was acknowledged.
    revision   BIGINT NOT NULL,
    -- The process that writes, and until when in milliseconds since 1970: another one may then.
    holder     TEXT NOT NULL DEFAULT '',
    held_until BIGINT NOT NULL DEFAULT 0
);

-- What became of one resource.
CREATE INDEX revisions_by_name ON revisions (name, revision);
