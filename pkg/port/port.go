// Package port draws ports for listeners whose address is known to others while no one listens.
package port

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Listen listens on a host at a free port that is none of those which the system draws for whoever asks for any (RFC 6335):
// no one is given it while it is closed for a moment.
func Listen(ctx context.Context, host string) (net.Listener, error) {
	const lowest, number, tries = 20_000, 10_000, 100
	var last error
	for range tries {
		address := net.JoinHostPort(host, strconv.Itoa(lowest+rand.IntN(number)))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			return listener, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no port of %s is free: %w", host, last)
}

// Free is the address of such a port, for who listens there later.
func Free(ctx context.Context, host string) (string, error) {
	listener, err := Listen(ctx, host)
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
