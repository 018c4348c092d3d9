// Package daemon is the frame of a process: what every service does before and after its own work.
//
// Main reads the configuration (strict YAML over defaults, environment over that, every fault at once), opens the log,
// and calls Serve. Serve opens the admin listener (/livez, /readyz, /metrics, /debug/pprof), runs the service until it
// is told to stop, and gives it shutdown_timeout to finish. Exit codes: 0 after a clean stop, 1 when the service failed
// or something was left at the end of shutdown_timeout (the last log line names it), 2 for a broken configuration.
//
// Nothing here is global: several services run in one process, each with an Env of its own. It is also the one package
// that makes a root context; everything else receives one.
package daemon
