package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Receiver is a tenant's HTTPS server on loopback, with a certificate of an authority that signs nothing else.
type Receiver struct {
	// Authority is the authority's certificate in PEM.
	Authority string
	// Secret is what its endpoints are signed with, as configuration holds it.
	Secret string

	listener net.Listener
	server   *http.Server
}

// StartReceiver serves HTTP/2 and HTTP/1.1 until Close, unless set changes that.
func StartReceiver(ctx context.Context, handler http.Handler, set ...func(*http.Server)) (*Receiver, error) {
	authority, certificate, err := identity()
	if err != nil {
		return nil, fmt.Errorf("start receiver: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start receiver: %w", err)
	}
	key := make([]byte, 32)
	rand.Read(key) // it never fails
	r := &Receiver{
		Authority: authority, Secret: "whsec_" + base64.StdEncoding.EncodeToString(key), listener: listener,
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second,
			TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
			ErrorLog:  log.New(io.Discard, "", 0), // connections that a killed sender leaves
		},
	}
	for _, change := range set {
		change(r.server)
	}
	go r.server.ServeTLS(listener, "", "") //nolint:errcheck // it ends with Close
	return r, nil
}

// Close ends it and its connections.
func (r *Receiver) Close() error { return r.server.Close() }

// URL of a path.
func (r *Receiver) URL(path string) string { return "https://" + r.listener.Addr().String() + path }

// Policy lets a tenant reach it.
func (r *Receiver) Policy() *configv1.OutboundPolicy {
	address, _ := r.listener.Addr().(*net.TCPAddr)
	return &configv1.OutboundPolicy{Ports: []uint32{uint32(address.Port)}, Networks: []string{"127.0.0.0/8"}}
}

// Verify checks a request by Standard Webhooks: one of its signatures is of the receiver's secret.
func (r *Receiver) Verify(header http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("verify signature: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", header.Get("webhook-id"), header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !slices.Contains(strings.Fields(header.Get("webhook-signature")), want) {
		return errors.New("verify signature: none is that of the secret")
	}
	return nil
}

// identity draws an authority and a certificate of it for loopback.
func identity() (authority string, certificate tls.Certificate, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", certificate, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", certificate, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "throwaway authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return "", certificate, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return "", certificate, err
	}
	authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	return authority, tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}, nil
}
