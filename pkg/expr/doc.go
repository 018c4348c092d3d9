// Package expr is CEL as Tollgate has it: the filters of notifications and the scopes of safeguards. It says in one place
// which functions there are, what an expression may cost, and what is refused when it is saved.
//
// An expression is evaluated in the fold of a log. Nothing in it is cut off by a clock, since a replay must decide alike:
// its cost is counted in units, and follows from the expression and the event alone. Programs are immutable and safe for
// use by many goroutines.
package expr
