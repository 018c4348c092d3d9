// Package manifest reads configuration from YAML files and brings the configuration service to it.
//
// A file holds documents, each one resource: its kind, its name, and the fields of the message in config/v1. Read finds
// every fault of every document; Plan asks the service about all of them without changing anything; Apply brings them in,
// those first that others name, and a tenant in two steps where its default class comes along. Applying the same again
// changes nothing. OfProfiles makes a document of ready classes of service instead.
package manifest
