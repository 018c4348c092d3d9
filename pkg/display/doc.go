// Package display makes text from outside fit for a person: for a terminal, a log, an answer.
//
// Text escapes what a terminal obeys or what turns a line around, and cuts what is long; Subject is whom an event is
// about, and masks itself; Numbers masks every subscriber number that stands in a sentence; Writer escapes what goes to a
// terminal, and Limited bounds the lines that outsiders cause in a log.
package display
