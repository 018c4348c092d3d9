// Package consume reads records: outside groups from an explicit offset, and in a group's claims by readers that share
// their requests.
package consume
