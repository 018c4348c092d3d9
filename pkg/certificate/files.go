package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Files are PEM files. All may be empty.
type Files struct {
	// Certificate and Key are this side's own; both or neither.
	Certificate, Key string
	// CA are the only authorities that the other side's certificate may be of. A listener then demands one of each
	// client; a client without CA trusts the system's authorities.
	CA string
}

// Validate adds to f what is wrong with the files' names; prefix is before those of the fields, such as "client_".
func (files Files) Validate(f *fault.Violations, prefix string) {
	if (files.Certificate == "") != (files.Key == "") {
		f.Add("certificate_file", "and certificate_key_file are given both or not at all")
	}
	if prefix != "" && files.CA != "" && files.Certificate == "" {
		f.Add(prefix+"ca_file", "means nothing without certificate_file")
	}
}

// read is what files held, with the state of each when it was read.
type read struct {
	stamps [3]stamp
	pair   []tls.Certificate
	pool   *x509.CertPool
}

// stamp changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// reader reads files again when they have changed. Safe for concurrent use.
type reader struct {
	files Files
	mu    sync.Mutex
	last  read
	// failed is why the files can't be read now; nil where they can.
	failed error
}

// newReader reads once; the error names the file.
func newReader(files Files) (*reader, error) {
	r := &reader{files: files}
	stamps, err := r.stamps()
	if err == nil {
		r.last, err = files.read(stamps)
	}
	return r, err
}

// stamps look at the files.
func (r *reader) stamps() (all [3]stamp, err error) {
	for i, path := range []string{r.files.Certificate, r.files.Key, r.files.CA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return all, fmt.Errorf("read certificates: %w", err)
		}
		all[i] = stamp{info.ModTime(), info.Size()}
	}
	return all, nil
}

// now is what the files hold, or held when they could last be read.
func (r *reader) now() read {
	r.mu.Lock()
	defer r.mu.Unlock()
	stamps, err := r.stamps()
	if err == nil && stamps != r.last.stamps {
		var next read
		if next, err = r.files.read(stamps); err == nil {
			r.last = next
		}
	}
	r.failed = err
	return r.last
}

// Watch reads the files, and returns a function that looks at them again: it returns why they can't be read now, so what was read
// before stays in use.
func Watch(files Files) (func() error, error) {
	r, err := newReader(files)
	if err != nil {
		return nil, err
	}
	return func() error {
		r.now()
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.failed
	}, nil
}

func (files Files) read(stamps [3]stamp) (read, error) {
	out := read{stamps: stamps}
	if files.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
		if err != nil {
			return out, fmt.Errorf("read certificate %s with key %s: %w", files.Certificate, files.Key, err)
		}
		out.pair = []tls.Certificate{pair}
	}
	if files.CA != "" {
		pem, err := os.ReadFile(files.CA)
		if err != nil {
			return out, fmt.Errorf("read certificate authority: %w", err)
		}
		out.pool = x509.NewCertPool()
		if !out.pool.AppendCertsFromPEM(pem) {
			return out, fmt.Errorf("read certificate authority: %s holds no PEM certificate", files.CA)
		}
	}
	return out, nil
}

// Server is the configuration of a listener; protocols are those of ALPN, such as "h2". nil without a certificate: the
// listener is plain text.
func Server(files Files, protocols ...string) (*tls.Config, error) {
	if files.Certificate == "" {
		return nil, nil
	}
	r, err := newReader(files)
	if err != nil {
		return nil, err
	}
	base := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := r.now()
		c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: now.pair}
		if now.pool != nil {
			c.ClientCAs, c.ClientAuth = now.pool, tls.RequireAndVerifyClientCert
		}
		return c, nil
	}
	base.Certificates = r.last.pair
	return base, nil
}

// Client makes the configuration of a client, anew for each connection.
func Client(files Files) (func() *tls.Config, error) {
	r, err := newReader(files)
	if err != nil {
		return nil, err
	}
	return func() *tls.Config {
		now := r.now()
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: now.pair, RootCAs: now.pool}
	}, nil
}
