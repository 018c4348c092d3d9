// Package channel describes a way to notify recipients: webhook, e-mail, later SMS.
//
// A Channel holds everything that the product knows of one. Its pure part is a package of its own below this one: it
// decodes and validates, renders and signs. Its service, of the same name, sends. The list of all channels is the package
// table; rules, trigger, config, its clients, topics, the command line and the single process follow from that list.
//
// Everything here and in the packages of channels is pure: no context, no clock, no I/O.
//
// DESIGN.md beside this file describes how a channel is added.
package channel
