package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestServer_OnlyHealthAndReflectionAnswerWithoutKey(t *testing.T) {
	r := serve(t, nil)
	ctx := t.Context()
	for name, tc := range map[string]struct{ key, reason string }{
		"no key":          {"", "API_KEY_MISSING"},
		"an unknown key":  {"tg_other", "API_KEY_UNKNOWN"},
		"the key's hash":  {HashKey(testKey), "API_KEY_UNKNOWN"},
		"part of the key": {testKey[:10], "API_KEY_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, r.address, tc.key)
			_, err := configv1.NewTenantServiceClient(conn).GetTenant(ctx, &configv1.GetTenantRequest{Name: "tenants/a"})
			if fault.KindOf(err) != fault.Unauthenticated || fault.ReasonOf(err) != tc.reason {
				t.Errorf("unary: %v", err)
			}
			stream, err := configv1.NewConfigWatchServiceClient(conn).Watch(ctx, &configv1.WatchRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if fault.KindOf(err) != fault.Unauthenticated || fault.ReasonOf(err) != tc.reason {
				t.Errorf("stream: %v", err)
			}
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("health: %v", err)
			}
			info, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := info.Send(&grpc_reflection_v1.ServerReflectionRequest{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
			}); err != nil {
				t.Fatal(err)
			}
			if res, err := info.Recv(); err != nil || len(res.GetListServicesResponse().GetService()) < 4 {
				t.Errorf("reflection: %v %v", res, err)
			}
			if err := info.CloseSend(); err != nil {
				t.Error(err)
			}
			if _, err := info.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("the end of a stream became %v", err)
			}
		})
	}
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	res, err := client.GetTenant(ctx, &configv1.GetTenantRequest{Name: "tenants/caller"})
	if err != nil || res.GetName() != HashKey(testKey)[:8] {
		t.Errorf("the right key: caller %q, %v", res.GetName(), err)
	}
}

func TestServer_WithoutKeysRejectsEveryCall(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.KeyHashes = nil })
	for _, key := range []string{"x", testKey} {
		_, err := configv1.NewTenantServiceClient(dial(t, r.address, key)).GetTenant(t.Context(), &configv1.GetTenantRequest{})
		if fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%q: %v", key, err)
		}
	}
	if !strings.Contains(r.log.String(), "no key of an operator or a service is accepted") {
		t.Error("nothing warns")
	}
}

func TestServer_SendsTextOfFaultsOnly(t *testing.T) {
	r := serve(t, nil)
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	call := func(name string) error {
		_, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: name})
		return err
	}
	err := call("tenants/invalid")
	want := []fault.Violation{{Field: "a", Description: "b"}, {Field: "c", Description: "d"}}
	if diff := cmp.Diff(want, fault.ViolationsOf(err)); diff != "" || status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v %s", err, diff)
	}
	for _, name := range []string{"tenants/panic", "tenants/internal"} {
		st := status.Convert(call(name))
		if st.Code() != codes.Internal || st.Message() != "internal error" || len(st.Details()) != 0 {
			t.Errorf("%s is %v %q %v", name, st.Code(), st.Message(), st.Details())
		}
	}
	log := r.log.String()
	for _, w := range []string{
		`"level":"error","time"`, "panic: key tg_secret", "fake_test.go", // the stack
		"dial sqlite at /var/lib", `"reason":"CONFIG_INVALID"`, `"method":"/tollgate.config.v1.TenantService/GetTenant"`,
		`"caller":"` + HashKey(testKey)[:8] + `"`,
	} {
		if !strings.Contains(log, w) {
			t.Errorf("the log does not have %s:\n%s", w, log)
		}
	}
	if n := strings.Count(log, `"call failed"`); n != 3 {
		t.Errorf("%d lines for 3 failed calls", n)
	}
	if err := call("tenants/ok"); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	families, err := r.env.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]uint64{}
	for _, f := range families {
		if f.GetName() == "tollgate_config_rpc_seconds" {
			for _, m := range f.GetMetric() {
				counted[m.GetLabel()[0].GetValue()] += m.GetHistogram().GetSampleCount()
			}
		}
		if f.GetName() == "tollgate_config_rpc_panics_total" {
			counted["panics"] = uint64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	if diff := cmp.Diff(map[string]uint64{"OK": 1, "Internal": 2, "InvalidArgument": 1, "panics": 1}, counted); diff != "" {
		t.Error(diff)
	}
}

func TestServer_BoundsCalls(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.MaxMessageBytes = 2048 })
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	_, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: strings.Repeat("x", 4096)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message over the limit: %v", err)
	}
	if _, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/deadline"}); err != nil {
		t.Errorf("a call without a deadline got none: %v", err)
	}
}

func TestServe_StopFinishesCallsAndEndsStreams(t *testing.T) {
	r := serve(t, nil)
	conn := dial(t, r.address, testKey)
	stream, err := configv1.NewConfigWatchServiceClient(conn).Watch(t.Context(), &configv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := stream.Recv(); err != nil || res.GetRevision() != 7 {
		t.Fatalf("%v %v", res, err)
	}
	unary := make(chan error, 1)
	go func() {
		_, err := configv1.NewTenantServiceClient(conn).GetTenant(context.Background(), &configv1.GetTenantRequest{Name: "tenants/held"})
		unary <- err
	}()
	<-r.service.held
	r.stop()
	<-r.server.Stopping()
	if _, err := stream.Recv(); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "STOPPING" {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case err := <-r.ended:
		t.Fatalf("stopped with a call under way: %v", err)
	default:
	}
	close(r.service.free)
	if err := <-unary; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	close(r.ended)
}

func TestServe_SlowStopIsReported(t *testing.T) {
	r := serve(t, func(_ *Config, e *daemon.Env) { e.ShutdownTimeout = time.Millisecond })
	unary := make(chan error, 1)
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	go func() {
		_, err := client.GetTenant(context.Background(), &configv1.GetTenantRequest{Name: "tenants/held"})
		unary <- err
	}()
	<-r.service.held
	r.stop()
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "under way") {
		t.Error(err)
	}
	close(r.ended)
	if err := <-unary; fault.KindOf(err) != fault.Unavailable {
		t.Errorf("the call that was cut: %v", err)
	}
	close(r.service.free)
}
