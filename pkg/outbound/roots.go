package outbound

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/tollgate/tollgate/pkg/fault"
)

// CheckCAs checks that text is PEM with certificates and nothing else, as ca_certificates of an endpoint must be; empty
// is valid. The error lists every wrong block by its number.
func CheckCAs(text []byte) error {
	_, err := certificates(text)
	return err
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	var (
		f     fault.Violations
		certs []*x509.Certificate
	)
	rest := bytes.TrimSpace(text)
	for n := 1; len(rest) > 0; n++ {
		block, after := pem.Decode(rest)
		if block == nil {
			f.Add("", "must be PEM: no block after the %d. one", n-1)
			break
		}
		rest = bytes.TrimSpace(after)
		if block.Type != "CERTIFICATE" {
			f.Add("", "must hold certificates only: block %d is %q", n, block.Type)
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			f.Add("", "must hold certificates: block %d cannot be read: %s", n, err)
			continue
		}
		certs = append(certs, cert)
	}
	return certs, f.Err(ReasonCAInvalid)
}

// roots are the system's roots and those given; nil, which means the system's, where none are given.
func roots(text []byte) (*x509.CertPool, error) {
	certs, err := certificates(text)
	if err != nil || len(certs) == 0 {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's roots: %w", err)
	}
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}
