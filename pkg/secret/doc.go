// Package secret encrypts what must not lie anywhere in clear, by a keyset in a file (AEAD, github.com/tink-crypto/tink-go). What
// is encrypted is bound to a context, such as the name of a resource and the path of a field: moved elsewhere it can't be
// decrypted. The file is read again when it has changed, so that keys are changed without a restart.
package secret
