// Package expr is CEL as Tollgate uses it: the filters of notifications and the scopes of safeguards. It defines the
// functions, the cost limits, and what is rejected when an expression is saved.
//
// An expression is evaluated in the fold of a log. No clock limits an evaluation, since a replay must give the same
// result: its cost is counted in units and follows from the expression and the event alone. Programs are immutable and
// safe for concurrent use.
package expr
