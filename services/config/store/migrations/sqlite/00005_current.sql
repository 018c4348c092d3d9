-- +goose Up

-- What stands now, deleted resources included: reading it costs by what stands, whatever came before.
CREATE TABLE resources (
    kind     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    -- The revision that made it so.
    revision INTEGER NOT NULL,
    deleted  INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    -- The resource's protobuf message, its metadata included.
    body     BLOB    NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

INSERT INTO resources SELECT kind, name, revision, deleted, body FROM resource_versions WHERE until IS NULL;

CREATE UNIQUE INDEX resources_by_revision ON resources (revision);

-- What stood before.
CREATE TABLE versions (
    kind     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    -- The revision in which another version took its place.
    until    INTEGER NOT NULL,
    deleted  INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    -- Null where it was pruned.
    body     BLOB,
    PRIMARY KEY (kind, name, revision)
) STRICT, WITHOUT ROWID;

INSERT INTO versions SELECT kind, name, revision, until, deleted, body FROM resource_versions WHERE until IS NOT NULL;

CREATE INDEX versions_by_until ON versions (until);
CREATE INDEX versions_to_prune ON versions (until) WHERE body IS NOT NULL;

DROP TABLE resource_versions;

CREATE INDEX suppressions_by_revision ON resources (revision) WHERE kind = 'suppression';

-- A history is what one process writes. Two processes may write in turn.
ALTER TABLE revisions ADD COLUMN history INTEGER NOT NULL DEFAULT 0;

UPDATE revisions SET history = (SELECT history FROM histories h WHERE h.first <= revisions.revision ORDER BY h.first DESC LIMIT 1);

DROP INDEX followed_revisions;

-- The newest revision of each history.
CREATE TABLE history_ends (
    history INTEGER NOT NULL PRIMARY KEY,
    last    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO history_ends SELECT history, MAX(revision) FROM revisions GROUP BY history;

DROP TABLE histories;

ALTER TABLE history_ends RENAME TO histories;

CREATE INDEX histories_by_last ON histories (last);

-- The row that every change locks and moves.
CREATE TABLE head (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    revision          INTEGER NOT NULL,
    apply_revision    INTEGER NOT NULL,
    -- The newest that is of no suppression.
    followed_revision INTEGER NOT NULL
) STRICT;

INSERT INTO head SELECT 1, COALESCE(MAX(revision), 0), COALESCE(MAX(apply_revision), 0),
    COALESCE(MAX(CASE WHEN kind <> 'suppression' THEN revision END), 0) FROM revisions;

-- Revisions that services know and this database does not have, the highest of each history.
CREATE TABLE unknown_revisions (
    history     INTEGER NOT NULL PRIMARY KEY,
    revision    INTEGER NOT NULL,
    -- Whether a service works by it, and not only a log names it.
    in_force    INTEGER NOT NULL CHECK (in_force IN (0, 1)),
    -- Who reported it last, and when, in milliseconds since 1970.
    peer        TEXT    NOT NULL,
    reported_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
