// Package rules is a notification's whole fold: which events it matches, what it says, and in which form that leaves.
//
// Compile judges a notification and lists everything that is wrong with it at once; what it returns can't fail for a
// reason that was visible when the notification was saved. An Index finds the rules of an event by tenant and type, so
// that an event nobody asked for costs one look-up. Match evaluates their filters, Render makes the bytes of a webhook.
//
// Everything here is pure: no context, no clock, no I/O. The same rule, event and log time give the same bytes in every
// process and for ever, because the bytes of a delivery are planned again after a crash and must then be the same.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package rules
