// Package tollgate holds Tollgate's own .proto files as they are written, comments included, for programs that hand them
// on. What they import is printed by package imports.
package tollgate

import "embed"

// Sources are the files by their import path without "tollgate/", such as "event/v1/event.proto".
//
//go:embed */v1/*.proto
var Sources embed.FS
