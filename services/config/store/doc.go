// Package store keeps the configuration in SQL: every resource as it stands, the versions that were replaced, and who
// made each revision. The tables are the same in SQLite, embedded, and in PostgreSQL, which several replicas may share.
// Revisions are numbered in the order of their commits, so that whoever sees one can read all below it.
package store
