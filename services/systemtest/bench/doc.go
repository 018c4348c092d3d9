// Package bench is what the benchmarks of the channels share: servers of their own, an installation on them, deliveries that
// are planned at once or at a pace, and what is counted meanwhile.
package bench
