-- +goose Up

-- One row for each change of the configuration.
CREATE TABLE revisions (
    revision       BIGINT PRIMARY KEY,
    -- The newest revision at or before this one that changed what counting or planning reads.
    apply_revision BIGINT NOT NULL,
    -- Milliseconds since 1970.
    changed_at     BIGINT NOT NULL,
    -- The beginning of the hash of the API key that made the change.
    caller         TEXT   NOT NULL,
    action         TEXT   NOT NULL,
    kind           TEXT   NOT NULL,
    name           TEXT   COLLATE "C" NOT NULL,
    -- The history that it is of: what one process writes. Two processes may write in turn.
    history        BIGINT NOT NULL
);

-- What stands now, deleted resources included: reading it costs by what stands, whatever came before.
CREATE TABLE resources (
    kind     TEXT    COLLATE "C" NOT NULL,
    name     TEXT    COLLATE "C" NOT NULL,
    -- The revision that made it so.
    revision BIGINT  NOT NULL,
    deleted  BOOLEAN NOT NULL,
    -- The resource's protobuf message, its metadata included.
    body     BYTEA   NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE UNIQUE INDEX resources_by_revision ON resources (revision);
CREATE INDEX suppressions_by_revision ON resources (revision) WHERE kind = 'suppression';

-- What stood before.
CREATE TABLE versions (
    kind     TEXT    COLLATE "C" NOT NULL,
    name     TEXT    COLLATE "C" NOT NULL,
    revision BIGINT  NOT NULL,
    -- The revision in which another version took its place.
    until    BIGINT  NOT NULL,
    deleted  BOOLEAN NOT NULL,
    -- Null where it was pruned.
    body     BYTEA,
    PRIMARY KEY (kind, name, revision)
);

CREATE INDEX versions_by_until ON versions (until);
CREATE INDEX versions_to_prune ON versions (until) WHERE body IS NOT NULL;

-- The newest revision of each history.
CREATE TABLE histories (
    -- 64 bits drawn at random.
    history BIGINT PRIMARY KEY,
    last    BIGINT NOT NULL
);

CREATE INDEX histories_by_last ON histories (last);

-- The row that every change locks and moves.
CREATE TABLE head (
    id                SMALLINT PRIMARY KEY CHECK (id = 1),
    revision          BIGINT NOT NULL,
    apply_revision    BIGINT NOT NULL,
    -- The newest that is of no suppression.
    followed_revision BIGINT NOT NULL
);

INSERT INTO head VALUES (1, 0, 0, 0);

-- Revisions that an operator gave up: what services had seen when this database was set back, or begun anew.
CREATE TABLE lost_revisions (
    history     BIGINT NOT NULL,
    -- The highest one that was lost.
    revision    BIGINT NOT NULL,
    -- Whose content is read in their place.
    stands_in   BIGINT NOT NULL,
    accepted_by TEXT   NOT NULL,
    why         TEXT   NOT NULL,
    PRIMARY KEY (history, revision)
);

-- What the service that sends last reported of each target. It is no part of a revision.
CREATE TABLE target_health (
    kind TEXT  COLLATE "C" NOT NULL,
    name TEXT  COLLATE "C" NOT NULL,
    -- The health's protobuf message, with the activation that it is of.
    body BYTEA NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Revisions that services know and this database does not have, the highest of each history.
CREATE TABLE unknown_revisions (
    history     BIGINT  PRIMARY KEY,
    revision    BIGINT  NOT NULL,
    -- Whether a service works by it, and not only a log names it.
    in_force    BOOLEAN NOT NULL,
    -- Who reported it last, and when, in milliseconds since 1970.
    peer        TEXT    NOT NULL,
    reported_at BIGINT  NOT NULL
);
