// Package bench is what the benchmarks share: servers of their own, an installation on them, deliveries and events that are
// planned at once or at a pace, what is counted meanwhile, and the bare loop of a fold.
package bench
