package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Config is the part of a service's file that bounds where its connections go, for all tenants.
type Config struct {
	// Denied are networks in CIDR notation in which nothing that tenants name may lie, whatever their own policies allow.
	Denied []string `yaml:"denied" env:"TOLLGATE_OUTBOUND_DENIED"`
	// Proxy is the HTTP proxy through which every connection goes, http://host:port or https://host:port; empty: none. It gets
	// CONNECT with addresses that were resolved and checked here.
	Proxy string `yaml:"proxy" env:"TOLLGATE_OUTBOUND_PROXY"`
	// ProxyCredentialsFile holds user:password for the proxy; empty: none.
	ProxyCredentialsFile string `yaml:"proxy_credentials_file" env:"TOLLGATE_OUTBOUND_PROXY_CREDENTIALS_FILE"`
}

// Check adds every violation to f.
func (c Config) Check(f *fault.Violations) {
	if _, err := c.DeniedNetworks(); err != nil {
		f.AddErr("outbound.denied", err)
	}
	if c.Proxy != "" {
		if _, err := NewProxy(c.Proxy, ""); err != nil {
			f.AddErr("outbound.proxy", err)
		}
	} else if c.ProxyCredentialsFile != "" {
		f.Add("outbound.proxy_credentials_file", "is for outbound.proxy, which is empty")
	}
}

// OpenProxy reads the proxy; nil where there is none.
func (c Config) OpenProxy() (*Proxy, error) {
	if c.Proxy == "" {
		return nil, nil //nolint:nilnil // no proxy is what most installations have
	}
	var credentials []byte
	if c.ProxyCredentialsFile != "" {
		var err error
		if credentials, err = os.ReadFile(c.ProxyCredentialsFile); err != nil {
			return nil, fmt.Errorf("read the credentials of the outbound proxy: %w", err)
		}
	}
	return NewProxy(c.Proxy, string(credentials))
}

// DeniedNetworks reads the networks.
func (c Config) DeniedNetworks() ([]netip.Prefix, error) {
	var faults []error
	var out []netip.Prefix
	for _, text := range c.Denied {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, network.Masked())
	}
	return out, errors.Join(faults...)
}
