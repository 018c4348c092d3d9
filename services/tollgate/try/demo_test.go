package try

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
)

// TestDemo_ShowsTheJourneyThroughServicesThatRun: nothing of the installation is the demo's own. The receiver has a name
// in its URL, as a container has, and the mail server takes no TLS.
func TestDemo_ShowsTheJourneyThroughServicesThatRun(t *testing.T) {
	dir, key := t.TempDir(), "a-key-of-this-test"
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	installation, err := allinone.Open(t.Context(), allinone.Config{
		Dir: dir, KeyFile: keyFile, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := installation.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := installation.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	services := map[string]string{}
	for _, name := range []string{"config", "ingest", "safeguard", "provision"} {
		if services[name], err = installation.Service(name).Address(t.Context(), "grpc"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	data, out := t.TempDir(), &output{until: "That was the whole journey", then: cancel}
	err = Run(ctx, Config{
		Data: data, Started: time.Now(), Out: out, Err: io.Discard, Pause: time.Hour,
		Running: &Running{
			Key: key, Services: services, Networks: []string{"127.0.0.0/8", "::1/128"},
			Dial: func(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
				return rpc.Dial(address, key, options...)
			},
			Kafka: func() (*stream.Client, error) {
				return stream.Open(stream.Config{Brokers: []string{installation.Kafka}, Prefix: "tollgate"}, zap.NewNop(), prometheus.NewRegistry())
			},
			Listen: "127.0.0.1:0", Host: "localhost", SMTP: "localhost:9",
		},
	})
	if err != nil || context.Cause(ctx) == context.DeadlineExceeded {
		t.Fatalf("%v %v\n%s", err, context.Cause(ctx), out)
	}
	for _, step := range []string{"https://localhost:", "allowed by client-check", "safeguard.alert of", "safeguard.reached of", "signature verified"} {
		if !strings.Contains(out.String(), step) {
			t.Errorf("%q is not printed:\n%s", step, out)
		}
	}
	if err := Shown(data); err != nil {
		t.Errorf("after the journey: %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "api-key")); err == nil {
		t.Error("the demo has drawn a key of its own")
	}
	text, err := os.ReadFile(filepath.Join(data, sampleFile))
	if err != nil || !strings.Contains(string(text), "tls: SMTP_TLS_NONE") {
		t.Errorf("the sample's e-mail does not go in clear: %v\n%s", err, text)
	}
}

// What is not verified shows nothing, nor does a line that a kill has cut off.
func TestShown_OnceADeliveryIsVerified(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, log string
		want      error
	}{
		{"no log", "", errNotShown},
		{"a signature that is wrong", `{"id":"a","verified":false,"fault":"no signature fits"}` + "\n", errNotShown},
		{"a line that was cut off", `{"id":"b","verified":tr`, errNotShown},
		{"a delivery that is verified", `{"id":"b","verified":false}` + "\n" + `{"id":"c","verified":true}` + "\n", nil},
	} {
		if c.log != "" {
			if err := os.WriteFile(filepath.Join(dir, receiptFile), []byte(c.log), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Shown(dir); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if err := Shown(filepath.Join(dir, receiptFile)); err == nil || errors.Is(err, errNotShown) {
		t.Errorf("a folder that is none: %v", err)
	}
}
