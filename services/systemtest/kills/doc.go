// Package kills ends the parts of an installation at random moments and brings them back: processes and servers with
// kill -9, a process that stands still and goes on, a configuration that is set back to an older copy.
package kills
