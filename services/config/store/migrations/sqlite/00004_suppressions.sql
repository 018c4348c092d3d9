-- +goose Up

-- Suppressions are followed by their own revisions, and by nobody else's.
CREATE INDEX suppressions_by_revision ON resource_versions (revision) WHERE kind = 'suppression' AND until IS NULL;
CREATE INDEX followed_revisions ON revisions (revision) WHERE kind <> 'suppression';
