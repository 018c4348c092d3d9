package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// healthyTimeout is below what supervisors give a check, 30 s where they are not asked.
const healthyTimeout = 5 * time.Second

// askReady is why the process behind an admin listener is not ready; nil where it is.
func askReady(ctx context.Context, cfg Admin) error {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("ask whether the service is ready: %w", err)
	}
	if port == "0" {
		return errors.New("admin.listen has port 0: which port the process took stands in its log alone")
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme, secure, err := cfg.own()
	if err != nil {
		return fmt.Errorf("ask whether the service is ready: %w", err)
	}
	client := &http.Client{Timeout: healthyTimeout, Transport: &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask whether the service is ready: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the service does not answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var body struct {
		Failing []Failing `json:"failing"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&body); err != nil || len(body.Failing) == 0 {
		return fmt.Errorf("the service is not ready: it answers %s", response.Status)
	}
	var all []string
	for _, f := range body.Failing {
		all = append(all, f.Check+": "+f.Error)
	}
	return fmt.Errorf("the service is not ready: %s", strings.Join(all, "; "))
}

// own is how a client on this machine reaches the listener: it trusts the listener's own certificate and nothing else.
func (a Admin) own() (scheme string, secure *tls.Config, err error) {
	if a.CertificateFile == "" {
		return "http", nil, nil
	}
	pair, err := tls.LoadX509KeyPair(a.CertificateFile, a.CertificateKeyFile)
	if err != nil {
		return "", nil, err
	}
	name := ""
	switch leaf := pair.Leaf; {
	case len(leaf.DNSNames) > 0:
		name = strings.Replace(leaf.DNSNames[0], "*", "any", 1)
	case len(leaf.IPAddresses) > 0:
		name = leaf.IPAddresses[0].String()
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	return "https", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: name}, nil
}
