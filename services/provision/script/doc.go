// Package script runs a handler that is a program on this machine: JSON on its standard input, its answer on its standard
// output. No shell is involved. What runs is a copy in memory of the file, whose SHA-256 is checked at each run. It runs with an
// empty environment, in a process group of its own, as an unprivileged user, under bounds of time, memory, output, open
// files, file size and processes, and is killed whole at the end.
//
// What an operator registers is trusted: the bounds keep a faulty script from harming the service, they are no jail.
// Config.Wrapper puts one in front.
package script
