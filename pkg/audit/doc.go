// Package audit makes the records of the topic audit, and publishes what a process has refused. What was changed is
// published by config, out of its own history.
package audit
