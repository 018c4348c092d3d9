// Package chain asks the handlers of an action, one after the other, under the budget of the call: each sees the data as the
// one before it left it, the first that forbids ends the chain, and one that can't answer ends by its failure policy. How a
// handler is asked, and what its answer means, are not here.
//
// Circuits and bounds of concurrency are those of one process.
package chain
