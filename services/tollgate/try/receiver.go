package try

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/port"
)

// journeyChannel is the channel of the first journey, whose deliveries the receiver takes.
const journeyChannel = "webhook"

// Headers of a delivery, by Standard Webhooks.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

// receiverAddress is where the receiver listens the first time, unless that port is taken.
const receiverAddress = "127.0.0.1:19443"

const (
	loopback = "127.0.0.1"
	maxBody  = 1 << 20
)

// received is one webhook that came, as a line of the receiver's log.
type received struct {
	Time     time.Time       `json:"time"`
	ID       string          `json:"id"`
	Verified bool            `json:"verified"`
	Fault    string          `json:"fault,omitempty"`
	Repeat   bool            `json:"repeat,omitempty"`
	Body     json.RawMessage `json:"body"`
}

// body is what a reader of the webhook's CloudEvent needs here.
type body struct {
	Type         string `json:"type"`
	Subject      string `json:"subject"`
	Notification string `json:"notification"`
}

// receiver is a tenant's server: it knows the secret and nothing else of the installation.
type receiver struct {
	secret    string
	authority []byte
	// host is what its senders call it by.
	host     string
	listener net.Listener
	server   *http.Server
	arrived  chan received
	log      *arrivals[received]
}

// startReceiver listens where the run before did, so that its endpoint stays as it is.
func startReceiver(ctx context.Context, f *folder, anyPort bool) (*receiver, error) {
	listener, err := listen(ctx, f.kept.Receiver, receiverAddress, anyPort)
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	f.kept.Receiver = listener.Addr().String()
	return receiveAt(listener, loopback, f)
}

// receiveAt serves a listener, which its senders call by host.
func receiveAt(listener net.Listener, host string, f *folder) (*receiver, error) {
	certificate, authority, err := identity(f, host)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	r := &receiver{
		secret: f.kept.Secret, authority: authority, host: host, listener: listener,
		arrived: make(chan received, 256),
	}
	if r.log, err = openArrivals(f.file(receiptFile), acknowledged); err != nil {
		return nil, errors.Join(err, r.listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks", r.receive)
	mux.HandleFunc("POST /hooks/client-check", r.check)
	r.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		// A sender that goes away in the middle is what happens at the end of a run.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = r.server.ServeTLS(r.listener, "", "") }()
	return r, f.keep()
}

// listen listens at the address of the run before, or at the usual one unless any port will do. Where that is taken, and the
// first time with any port, it is a port that is free when the next run comes, too.
func listen(ctx context.Context, before, usual string, anyPort bool) (net.Listener, error) {
	if address := cmp.Or(before, usual); before != "" || !anyPort {
		if listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address); err == nil {
			return listener, nil
		}
	}
	return port.Listen(ctx, loopback)
}

// acknowledged is the id of a webhook that was verified: no other was acknowledged.
func acknowledged(got *received) string {
	if !got.Verified {
		return ""
	}
	return got.ID
}

// Shown is nil once a run that keeps its data in dir, this one or an earlier one, has received a delivery and verified it.
func Shown(dir string) error {
	log, err := os.Open(filepath.Join(dir, receiptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return errNotShown
	}
	if err != nil {
		return fmt.Errorf("open the receiver's log: %w", err)
	}
	defer log.Close() //nolint:errcheck // it is only read
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 2*maxBody)
	for lines.Scan() {
		var got received
		if json.Unmarshal(lines.Bytes(), &got) == nil && got.Verified {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the receiver's log: %w", err)
	}
	return errNotShown
}

var errNotShown = errors.New("no delivery was received and verified yet")

func (r *receiver) url() string { return "https://" + r.address() + "/webhooks" }

func (r *receiver) hookURL() string { return "https://" + r.address() + "/hooks/client-check" }

func (r *receiver) address() string { return net.JoinHostPort(r.host, strconv.Itoa(r.port())) }

func (r *receiver) port() int { return portOf(r.listener) }

func portOf(l net.Listener) int {
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return address.Port
}

// receive verifies first, and acknowledges once the webhook is written down.
func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	content, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	got := received{Time: now.UTC(), ID: req.Header.Get(headerID), Body: content}
	if err := verify(r.secret, req.Header, content, now); err != nil {
		got.Fault = err.Error()
		w.WriteHeader(http.StatusUnauthorized)
	} else if got.Verified = true; !json.Valid(content) {
		got.Verified, got.Fault = false, "the body is not JSON"
		w.WriteHeader(http.StatusBadRequest)
	}
	if !json.Valid(content) {
		got.Body = json.RawMessage(strconv.Quote(string(content)))
	}
	if err := r.log.note(&got, &got.Repeat); err != nil {
		http.Error(w, "cannot write it down", http.StatusInternalServerError)
		return
	}
	if got.Verified {
		w.WriteHeader(http.StatusNoContent)
	}
	select {
	case r.arrived <- got:
	default: // no one reads it now; it is in the log
	}
}

func (r *receiver) close() error {
	return errors.Join(r.server.Close(), r.log.close())
}
