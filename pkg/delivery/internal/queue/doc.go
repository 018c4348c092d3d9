// Package queue decides which delivery of a partition goes next, and what is known of its endpoints. It is pure: no clock, no
// input and output; times are ms of one clock that never goes back.
package queue
