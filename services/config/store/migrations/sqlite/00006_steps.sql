-- +goose Up

-- One revision may change several resources.
DROP INDEX resources_by_revision;
CREATE INDEX resources_by_revision ON resources (revision);
