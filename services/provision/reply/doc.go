// Package reply reads what a handler answered: whether the action may go on, and with which data. It is pure: no I/O, no
// clock.
//
// Data is compared as decoded messages. What a handler sends back is a JSON merge patch (RFC 7396) of what it was sent: a
// member that is missing is unchanged, null clears one, a list is replaced as a whole. So the whole request sent back
// changes nothing, in whatever order and spelling its members come.
package reply
