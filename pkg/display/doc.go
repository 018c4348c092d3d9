// Package display makes text from outside safe to show to people: on a terminal, in a log, in a response.
//
// Text escapes control characters and text direction marks, and cuts long text; Subject identifies whom an event is
// about, and masks itself; Numbers masks every subscriber number in a sentence; Writer escapes output to a terminal;
// Limited bounds the log lines that outsiders cause.
package display
