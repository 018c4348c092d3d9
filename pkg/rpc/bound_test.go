package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that asIs stands before
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// asIs sends bytes as a message.
type asIs struct{ encoding.CodecV2 }

func (c asIs) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func sendBytes(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	var answer configv1.Tenant
	return conn.Invoke(ctx, method, message, &answer, grpc.ForceCodecV2(asIs{encoding.GetCodecV2("proto")}))
}

const (
	getTenant = "/tollgate.config.v1.TenantService/GetTenant"
	update    = "/tollgate.config.v1.TenantService/UpdateTenant"
	check     = "/grpc.health.v1.Health/Check"
)

// Eight MiB of two-byte fields were once decoded into hundreds of MiB, before and after the key was checked.
func TestReceive_RejectsExpensiveMessagesBeforeDecoding(t *testing.T) {
	r := serve(t, nil)
	dense := bytes.Repeat([]byte{0x12, 0}, 4<<20-8)
	for name, tc := range map[string]struct {
		key, method string
		code        codes.Code
		reason      string
	}{
		"without a key":                  {"", getTenant, codes.Unauthenticated, "API_KEY_MISSING"},
		"without a key, method unknown":  {"", "/x.Y/Z", codes.Unauthenticated, "API_KEY_MISSING"},
		"with an unknown key":            {"tg_x", update, codes.Unauthenticated, "API_KEY_UNKNOWN"},
		"with a key, fields unknown":     {testKey, getTenant, codes.InvalidArgument, "UNDECODABLE"},
		"with a key, many empty fields":  {testKey, update, codes.InvalidArgument, "UNDECODABLE"},
		"to a method that is open":       {"", check, codes.ResourceExhausted, "MESSAGE_TOO_LARGE"},
		"to an open method, with a key":  {testKey, check, codes.ResourceExhausted, "MESSAGE_TOO_LARGE"},
		"with a key, the method unknown": {testKey, "/x.Y/Z", codes.Unimplemented, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, r.address, tc.key)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := sendBytes(t.Context(), conn, tc.method, dense)
			runtime.ReadMemStats(&after)
			if status.Code(err) != tc.code || tc.reason != "" && fault.ReasonOf(err) != tc.reason {
				t.Errorf("%v", err)
			}
			// The sender holds the message too, and both its frames.
			if took := after.TotalAlloc - before.TotalAlloc; took > 6*uint64(len(dense)) {
				t.Errorf("%d bytes took %d of memory", len(dense), took)
			}
		})
	}
	if held := r.server.Budget().Held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestBudget_IsSharedByAllCallers(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.MaxMessageBytes, c.MaxHeldBytes = 1<<20, 7<<20 })
	message := append([]byte("\x0a\x0ctenants/held\xa2\x06\x80\x80\x28"), make([]byte, 640<<10)...)
	answers := make(chan error, 3)
	for range 3 {
		conn := dial(t, r.address, testKey)
		go func() { answers <- sendBytes(context.Background(), conn, getTenant, message) }()
		<-r.service.held
	}
	// Three hold their message, and what it became.
	conn := dial(t, r.address, testKey)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := sendBytes(ctx, conn, getTenant, message)
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Throttled || f.Reason != "BUSY" || f.RetryAfter <= 0 || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a fourth: %v", err)
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("health while busy: %v", err)
	}
	if _, err := configv1.NewTenantServiceClient(conn).GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/a"}); err != nil {
		t.Errorf("a small one, for which there is room: %v", err)
	}
	close(r.service.free)
	for range 3 {
		if err := <-answers; err != nil {
			t.Errorf("one that was taken: %v", err)
		}
	}
	if held := r.server.Budget().Held(); held != 0 {
		t.Errorf("%d bytes are held after all was answered", held)
	}
}

// post opens a call with the first bytes of a message and returns the response.
func post(t *testing.T, address string, begin []byte) http.Header {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	body, rest := io.Pipe()
	t.Cleanup(func() { rest.Close() })
	go func() { _, _ = rest.Write(begin) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+getTenant, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("Authorization", "Bearer "+testKey)
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	if res.Trailer.Get("Grpc-Status") != "" {
		return res.Trailer
	}
	return res.Header
}

func TestReceive_RejectsByLengthBeforeContent(t *testing.T) {
	for name, tc := range map[string]struct {
		begin   []byte
		status  string
		message string
	}{
		"longer than any may be":           {[]byte{0, 0, 0x20, 0, 0}, "8", "must have at most"},
		"longer than there is room":        {[]byte{0, 0, 0x0f, 0, 0}, "8", "holds as much"},
		"one that does not come to an end": {[]byte{0, 0, 0, 1, 0, 'x'}, "4", "in time"},
		"one that does not begin":          {nil, "4", "in time"},
		"a compressed one":                 {[]byte{1, 0, 0, 1, 0}, "12", "compressed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, func(c *Config, _ *daemon.Env) {
				c.MaxMessageBytes, c.MaxHeldBytes = 1<<20, 4<<20
				if tc.message == "in time" {
					c.CallTimeout = 50 * time.Millisecond
				}
			})
			busy := r.server.Budget().Hold()
			if err := busy.Take(3<<20 + 512<<10); err != nil {
				t.Fatal(err)
			}
			got := post(t, r.address, tc.begin)
			if got.Get("Grpc-Status") != tc.status || !strings.Contains(got.Get("Grpc-Message"), tc.message) {
				t.Errorf("%v", got)
			}
			busy.Release()
			if held := r.server.Budget().Held(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

func TestHold_ClosedTakesNothing(t *testing.T) {
	b := &Budget{limit: 10}
	h := b.Hold()
	if err := h.Take(10); err != nil {
		t.Error(err)
	}
	h.Give(20)
	if err := h.Take(5); err != nil || b.Held() != 5 {
		t.Errorf("%v, %d held", err, b.Held())
	}
	h.Close()
	if err := h.Take(1); err == nil || b.Held() != 0 {
		t.Errorf("%v, %d held", err, b.Held())
	}
}

// A subscriber that does not exist was once logged in full at info, for each call.
func TestOutcome_LogMasksSubscribers(t *testing.T) {
	r := serve(t, nil)
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	for _, name := range []string{"tenants/nobody", "tenants/refused"} {
		if _, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: name}); !strings.Contains(err.Error(), "447700900012") {
			t.Errorf("the caller does not see whom it named: %v", err)
		}
	}
	log := r.log.String()
	if strings.Contains(log, "7700900012") || strings.Count(log, "4477••••••12") != 2 || strings.ContainsRune(log, '\u202e') {
		t.Errorf("the log is\n%s", log)
	}
	if !strings.Contains(log, `"level":"debug","time"`) || strings.Count(log, `"level":"info"`) != 2 {
		t.Errorf("what is not there is not logged at debug:\n%s", log)
	}
}

func TestKeys_OnlyServiceKeysAreFromService(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.ServiceKeyHashes = []string{HashKey("tg_service")} })
	for key, want := range map[string]string{testKey: "tenants/other", "tg_service": "tenants/service"} {
		res, err := configv1.NewTenantServiceClient(dial(t, r.address, key)).GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/who"})
		if err != nil || res.GetName() != want {
			t.Errorf("%s is %v: %v", key, res.GetName(), err)
		}
	}
}
