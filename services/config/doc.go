// Package config keeps what operators and tenants decide: tenants, classes of service, notifications and endpoints.
//
// It serves gRPC: Get, List, Create, Update, Delete and Undelete for each of them, and ConfigWatchService, by which
// every other service follows along. It consumes and produces no topic.
//
// It promises that every change has a revision of its own, one higher than the last, made in one transaction; that every
// revision can be read again as it was; that apply_revision moves only with what counting or planning reads; and that
// an input that is refused names everything that is wrong with it. One process owns the database.
package config
