// Package delivery is what every channel shares about telling somebody: the
// noun, its id, how an attempt is judged, when the next one is due, the order
// of lanes, and the loop that works a partition of deliveries.
//
// It promises three things. A delivery that stands in the log is settled, and
// its settlement can be read from the attempts. First receipts of a lane are in
// lane order, whatever crashes. What a crash or a hand-over repeats is only
// what was in flight, under the same id.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package delivery
