// Package scan reads the few fields of a record that opening a partition needs, and remembers the deliveries that were read last.
package scan
