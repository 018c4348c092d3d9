// Package certificate is TLS by PEM files, for listeners and for clients. The files are looked at with each handshake and
// read again when they have changed, so that a certificate is renewed without a restart. Files that can't be read, such
// as a pair of which one half is written, leave what was read before in use; Watch is for who reports that.
package certificate
