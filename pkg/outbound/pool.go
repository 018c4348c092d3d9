package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Identity is the scope in which connections are shared: one tenant, its policy, and the certificates it trusts and
// shows. Make it when the configuration changes, not per request.
type Identity struct {
	policy      Policy
	cas         []byte
	certificate *tls.Certificate
	key         [sha256.Size]byte
}

// NewIdentity checks the certificates (the error is that of CheckCAs) and derives the key by which clients are shared.
func NewIdentity(tenant string, policy Policy, cas []byte, certificate *tls.Certificate) (Identity, error) {
	certs, err := certificates(cas)
	if err != nil {
		return Identity{}, err
	}
	hash := sha256.New()
	part := func(b []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		hash.Write(length[:])
		hash.Write(b)
	}
	part([]byte(tenant))
	part([]byte(policy.key()))
	for _, cert := range certs {
		part(cert.Raw)
	}
	if certificate != nil {
		part([]byte("shows"))
		for _, raw := range certificate.Certificate {
			part(raw)
		}
	}
	id := Identity{policy: policy, cas: cas, certificate: certificate}
	hash.Sum(id.key[:0])
	return id, nil
}

// Pool holds a client for each identity in use. When there are too many, it closes the idle connections of the client
// unused for longest. It is safe for concurrent use.
type Pool struct {
	options Options

	mu      sync.Mutex
	clients *simplelru.LRU[[sha256.Size]byte, *Client]
}

// NewPool makes a pool of at most size clients, 1 or more. Timeouts and bounds are those of o; policy and certificates
// come with each identity.
//
// It loads the system's roots: where that fails later because no file descriptor is free, the process has no roots
// until its end and rejects every certificate.
func NewPool(size int, o Options) (*Pool, error) {
	if _, err := x509.SystemCertPool(); err != nil {
		return nil, fmt.Errorf("load the system's roots: %w", err)
	}
	o.names = newNames(nil)
	clients, err := simplelru.NewLRU(size, func(_ [sha256.Size]byte, c *Client) { c.Close() })
	if err != nil {
		return nil, err
	}
	return &Pool{options: o, clients: clients}, nil
}

// Client is the client of an identity. Call it for each request: a client that was evicted still works, but keeps
// connections that no other request uses.
func (p *Pool) Client(id Identity) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients.Get(id.key); ok {
		return c, nil
	}
	o := p.options
	o.Policy, o.CAs, o.Certificate = id.policy, id.cas, id.certificate
	c, err := NewClient(o)
	if err != nil {
		return nil, err
	}
	p.clients.Add(id.key, c)
	return c, nil
}

// Len is the number of clients.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients.Len()
}

// Close closes the idle connections of all clients; requests under way end by themselves.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients.Purge()
}
