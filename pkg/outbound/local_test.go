package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// failing is a dialer that returns only an error.
type failing struct{ err error }

func (f failing) DialContext(context.Context, string, string) (net.Conn, error) { return nil, f.err }

func refused(call string, errno syscall.Errno, addr netip.AddrPort) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: os.NewSyscallError(call, errno)}
}

// A delivery was once dead after nine attempts for which no file descriptor was free.
func TestLocal_MissingResourcesAreLocal(t *testing.T) {
	loopback := netip.MustParseAddrPort("127.0.0.1:443")
	for name, tc := range map[string]struct {
		err  error
		want Class
	}{
		"no file descriptor in the process":     {refused("socket", syscall.EMFILE, loopback), ClassLocal},
		"no file descriptor in the system":      {refused("socket", syscall.ENFILE, loopback), ClassLocal},
		"no memory":                             {refused("socket", syscall.ENOMEM, loopback), ClassLocal},
		"no buffers":                            {refused("connect", syscall.ENOBUFS, loopback), ClassLocal},
		"no port":                               {refused("connect", syscall.EADDRNOTAVAIL, loopback), ClassLocal},
		"no network card":                       {refused("connect", syscall.ENETDOWN, loopback), ClassLocal},
		"no address of that family":             {refused("connect", syscall.EADDRNOTAVAIL, netip.MustParseAddrPort("[fe80::1%nosuch]:443")), ClassConnect},
		"refused by the receiver":               {refused("connect", syscall.ECONNREFUSED, loopback), ClassConnect},
		"no route, as to an address nobody has": {refused("connect", syscall.ENETUNREACH, loopback), ClassConnect},
		"a firewall's no":                       {refused("connect", syscall.EPERM, loopback), ClassConnect},
		"a name nobody knows":                   {&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, ClassDNS},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{}.withDefaults()
			c, err := newClient(o, dialerOn(o, failing{tc.err}))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Do(t.Context(), Request{URL: mustURL(t, "https://receiver.test/")}); got.Class != tc.want {
				t.Errorf("class %q, want %q: %v", got.Class, tc.want, got.Err)
			}
		})
	}
}

func TestLocal_MissingFileDescriptorsAreLocal(t *testing.T) {
	c := mustClient(t, Options{Policy: Policy{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	next, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: uint64(next.Fd()), Max: before.Max}
	_ = next.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	var got []Result
	for _, u := range []string{"https://127.0.0.1/", "https://receiver.test/"} {
		got = append(got, c.Do(t.Context(), Request{URL: mustURL(t, u)}))
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		if r.Class != ClassLocal {
			t.Errorf("class %q: %v", r.Class, r.Err)
		}
	}
}

// domainServer is a name server on loopback; answer is what a question gets, or false for silence.
func domainServer(t *testing.T, answer func(name string) (dnsmessage.RCode, bool)) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			code, answers := answer(m.Questions[0].Name.String())
			if !answers {
				continue
			}
			m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, code, nil
			packed, err := m.Pack()
			if err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	// A look-up that nobody waits for any more goes on by itself: it ends with the test.
	var mu sync.Mutex
	var open []net.Conn
	over := false
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		for _, c := range open {
			_ = c.Close()
		}
	})
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return nil, errors.New("the test is over")
		}
		c, err := new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
		if err == nil {
			open = append(open, c)
		}
		return c, err
	}
}

func TestLocal_SilentNameServerIsLocal(t *testing.T) {
	nobody := func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("%w", errors.New("no name server"))
	}
	for name, tc := range map[string]struct {
		dial func(context.Context, string, string) (net.Conn, error)
		want Class
	}{
		"nobody knows the name":   {domainServer(t, func(string) (dnsmessage.RCode, bool) { return dnsmessage.RCodeNameError, true }), ClassDNS},
		"the name's servers fail": {domainServer(t, func(string) (dnsmessage.RCode, bool) { return dnsmessage.RCodeServerFailure, true }), ClassDNS},
		"the name's servers do not answer, ours does": {domainServer(t, func(name string) (dnsmessage.RCode, bool) {
			return dnsmessage.RCodeSuccess, !strings.HasPrefix(name, "receiver.test")
		}), ClassDNS},
		"our name server refuses all": {domainServer(t, func(name string) (dnsmessage.RCode, bool) {
			return dnsmessage.RCodeRefused, name == "."
		}), ClassDNS},
		"our name server is silent":    {domainServer(t, func(string) (dnsmessage.RCode, bool) { return 0, false }), ClassLocal},
		"our name server is not there": {nobody, ClassLocal},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{DialTimeout: 200 * time.Millisecond, names: newNames(tc.dial)}
			o.names.probeTimeout = time.Second
			c := mustClient(t, o)
			if got := c.Do(t.Context(), Request{URL: mustURL(t, "https://receiver.test/")}); got.Class != tc.want {
				t.Errorf("class %q, want %q: %v", got.Class, tc.want, got.Err)
			}
		})
	}
}
