// Package shape holds no code: its tests hold the shape of the repository, who
// may import what and why, so that a shortcut is seen when it is taken.
package shape
