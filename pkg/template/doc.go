// Package template renders the texts of notifications: text/template and html/template, bounded and checked against the
// tokens of every type of event when a text is saved, so that one that is saved ends, and fails at no event of its types.
//
// Everything here is pure. What a text shows of a moment or an amount follows from its value and from the Reader.
//
// DESIGN.md beside this file describes the bounds.
package template
