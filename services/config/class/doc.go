// Package class validates classes of service by themselves: their options, amounts, thresholds and states. It is pure, and reads no
// other resource.
package class
