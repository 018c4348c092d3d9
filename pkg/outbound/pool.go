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

// Identity is what may share connections: one tenant, its policy, and the certificates it trusts and shows. Make it when
// configuration changes, not per request.
type Identity struct {
	policy      Policy
	cas         []byte
	certificate *tls.Certificate
	key         [sha256.Size]byte
}

// NewIdentity checks the certificates (the fault is that of CheckCAs) and derives the key by which clients are shared.
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

// Pool holds a client for each identity in use, and closes the waiting connections of the one unused for longest when
// there are too many. It is safe for concurrent use.
type Pool struct {
	options Options

	mu      sync.Mutex
	clients *simplelru.LRU[[sha256.Size]byte, *Client]
}

// NewPool makes a pool of at most size clients, 1 or more. Timeouts and bounds are those of o; policy and certificates come with each identity.
//
// The system's roots are loaded here: where that fails later, for want of a file descriptor, the process has none for good,
// and every receiver's certificate would be refused.
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

// Client is the identity's client. Ask for it at each request: one that was put out still works, but keeps connections
// that nobody else uses.
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

// Len is how many clients there are.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients.Len()
}

// Close closes the waiting connections of all clients; requests under way end by themselves.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients.Purge()
}
