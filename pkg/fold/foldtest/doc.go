// Package foldtest simulates the engine of pkg/fold: random histories of one or more partitions, with crashes at every
// step and owners that go on after they lost their partition, whose outcomes must be those of an undisturbed run.
package foldtest
