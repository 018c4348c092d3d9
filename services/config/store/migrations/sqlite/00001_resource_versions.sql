-- +goose Up

-- One row for each change of the configuration.
CREATE TABLE revisions (
    revision       INTEGER PRIMARY KEY,
    -- The newest revision at or before this one that changed what counting or planning reads.
    apply_revision INTEGER NOT NULL,
    -- Milliseconds since 1970.
    changed_at     INTEGER NOT NULL,
    -- The beginning of the hash of the API key that made the change.
    caller         TEXT    NOT NULL,
    action         TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    name           TEXT    NOT NULL
) STRICT;

-- Each resource as it was from a revision on. Nothing here is ever changed but until, once.
CREATE TABLE resource_versions (
    kind     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions (revision),
    -- The revision in which another version took its place; null for the newest.
    until    INTEGER REFERENCES revisions (revision),
    deleted  INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    -- The resource's protobuf message, its metadata included.
    body     BLOB    NOT NULL,
    PRIMARY KEY (kind, name, revision)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX newest_versions ON resource_versions (kind, name) WHERE until IS NULL;
