-- +goose Up

-- A history is what one run of the service made: each run that changes something begins one. A database that was set back
-- to a backup therefore never gives a revision of one history a second content, and services can tell.
CREATE TABLE histories (
    -- The first revision of the history; it ends before the next one's first.
    first   INTEGER PRIMARY KEY REFERENCES revisions (revision),
    -- 64 bits drawn at random.
    history INTEGER NOT NULL UNIQUE
) STRICT;

INSERT INTO histories SELECT MIN(revision), RANDOM() FROM revisions HAVING COUNT(*) > 0;

-- Revisions that an operator gave up: what services had seen when this database was set back, or begun anew.
CREATE TABLE lost_revisions (
    history     INTEGER NOT NULL,
    -- The highest one that was lost.
    revision    INTEGER NOT NULL,
    -- Whose content is read in their place.
    stands_in   INTEGER NOT NULL REFERENCES revisions (revision),
    accepted_by TEXT    NOT NULL,
    why         TEXT    NOT NULL,
    PRIMARY KEY (history, revision)
) STRICT, WITHOUT ROWID;
