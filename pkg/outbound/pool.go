package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Identity is the scope in which connections are shared: one tenant, its policy, and the certificates it trusts and
// shows. Make it when the configuration changes, not per request.
type Identity struct {
	policy      Policy
	cas         []byte
	certificate *tls.Certificate
	key         Key
}

// Key is the same for identities that share connections.
type Key [sha256.Size]byte

// Key is the identity's.
func (i Identity) Key() Key { return i.key }

// NewIdentity checks the certificates (the error is that of CheckCAs) and derives the key by which clients are shared.
func NewIdentity(tenant string, policy Policy, cas []byte, certificate *tls.Certificate) (Identity, error) {
	certs, err := certificates(cas)
	if err != nil {
		return Identity{}, err
	}
	hash := sha256.New()
	part := partsOf(hash)
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

// partsOf writes parts so that no two lists of them give the same hash.
func partsOf(hash hash.Hash) func(part []byte) {
	return func(part []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write(part)
	}
}

// Pool holds a client for each identity in use. When there are too many, it closes the idle connections of the client
// unused for longest. It is safe for concurrent use.
type Pool struct {
	options Options

	mu      sync.Mutex
	clients *simplelru.LRU[Key, *Client]
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
	o = o.withDefaults()
	clients, err := simplelru.NewLRU(size, func(_ Key, c *Client) { c.Close() })
	if err != nil {
		return nil, err
	}
	p := &Pool{options: o, clients: clients}
	o.bound.idle = p.closeIdle
	return p, nil
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

// Keep closes the clients of all identities but those given, which are the ones that the configuration has. From then on
// no request starts on a connection or a TLS session of another one, unless it asks for the client again.
func (p *Pool) Keep(ids map[Key]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range p.clients.Keys() {
		if !ids[key] {
			p.clients.Remove(key)
		}
	}
}

// closeIdle closes an idle connection of the client unused for longest that has one.
func (p *Pool) closeIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range p.clients.Keys() { // oldest first
		if c, ok := p.clients.Peek(key); ok && c.closeIdle() {
			return true
		}
	}
	return false
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
