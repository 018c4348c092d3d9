// Package daemon is the frame of a process: what every service does before and after its own work.
//
// Main reads the configuration (strict YAML over defaults, environment over that, every violation at once), opens the
// log, and calls Serve. Serve opens the admin listener (/livez, /readyz, /metrics, /debug/pprof), runs the service
// until a signal, and gives it shutdown_timeout to finish. Exit codes: 0 after a clean stop, 1 when the service failed
// or work was left at the end of shutdown_timeout (the last log line names it), 2 for an invalid configuration.
//
// Nothing here is global: several services run in one process, each with its own Env. Only this package makes a root
// context; everything else receives one.
package daemon
