-- +goose Up

-- What the service that sends last reported of each target. It is no part of a revision.
CREATE TABLE target_health (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The health's protobuf message, with the activation that it is of.
    body BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
