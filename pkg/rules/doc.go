// Package rules is the whole fold of a notification: which events it matches, to whom it goes, and with which texts.
//
// Compile validates a notification and lists all violations at once; what it returns can't fail for a reason that was
// visible when the notification was saved. An Index finds the rules of an event by tenant and type, so that an event that
// no rule names costs one look-up. Match evaluates their filters; Recipients and Render make the messages, by the channel
// of each action. Templates and tokens are here; everything that differs between channels is in pkg/channel.
//
// Everything here is pure: no context, no clock, no I/O. The same rule, event and log time give the same bytes in every
// process and at any time, because the bytes of a delivery are planned again after a crash and must then be the same.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package rules
