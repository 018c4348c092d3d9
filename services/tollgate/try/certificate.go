package try

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Files of the receiver's identity. The authority's key is thrown away once it has signed the receiver's.
const (
	authorityFile   = "receiver-ca.pem"
	certificateFile = "receiver.pem"
)

// certificateLife and the rest of it below which a new one is made.
const (
	certificateLife = 365 * 24 * time.Hour
	certificateRest = 7 * 24 * time.Hour
)

// identity is the certificate of a receiver that is called by host, and the authority that its senders have to trust, in PEM;
// made where the folder has none that lasts.
func identity(f *folder, host string) (tls.Certificate, []byte, error) {
	authority, err := os.ReadFile(f.file(authorityFile))
	if err == nil {
		if cert, err := tls.LoadX509KeyPair(f.file(certificateFile), f.file(certificateFile)); err == nil &&
			time.Until(cert.Leaf.NotAfter) > certificateRest && cert.Leaf.VerifyHostname(host) == nil {
			return cert, authority, nil
		}
	}
	authority, both, err := newIdentity(host)
	if err == nil {
		err = errors.Join(f.write(authorityFile, authority, 0o600), f.write(certificateFile, both, 0o600))
	}
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a certificate for the receiver: %w", err)
	}
	cert, err := tls.X509KeyPair(both, both)
	return cert, authority, err
}

// newIdentity makes an authority, and a certificate with its key that it signed.
func newIdentity(host string) (authority, certificateAndKey []byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	from := time.Now().Add(-time.Minute)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tollgate try, throwaway authority"},
		NotBefore: from, NotAfter: from.Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLenZero: true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tollgate try, receiver"},
		NotBefore: from, NotAfter: from.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
	}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = append(leaf.IPAddresses, ip)
	} else {
		leaf.DNSNames = append(leaf.DNSNames, host)
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), authorityKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return block("CERTIFICATE", rootDER), append(block("CERTIFICATE", leafDER), block("PRIVATE KEY", keyDER)...), nil
}
