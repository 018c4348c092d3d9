package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tollgate/tollgate/pkg/certificate"
)

// admin is the listener for operators.
type admin struct {
	server *http.Server
	failed chan error
}

func startAdmin(ctx context.Context, cfg Config, env Env) (*admin, error) {
	secure, err := certificate.Server(cfg.Admin.files(), "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	if err := env.Health.WatchCertificates("admin", cfg.Admin.files()); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	a := &admin{
		// No write timeout: the request sets the duration of a CPU profile.
		server: &http.Server{Handler: adminPages(env), TLSConfig: secure, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute},
		failed: make(chan error, 1),
	}
	env.Listeners.Announce("admin", listener.Addr())
	go func() {
		serve := a.server.Serve
		if secure != nil {
			serve = func(l net.Listener) error { return a.server.ServeTLS(l, "", "") }
		}
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.failed <- fmt.Errorf("serve operators: %w", err)
		}
	}()
	return a, nil
}

// close ends the listener and every connection; a profile under way is cut.
func (a *admin) close() error { return a.server.Close() }

func adminPages(env Env) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, struct{}{}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		failing := env.Health.Failing()
		code := http.StatusOK
		if len(failing) > 0 {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, struct {
			Ready   bool      `json:"ready"`
			Failing []Failing `json:"failing,omitempty"`
			// Noted incidents leave the service ready.
			Incidents []*Incident `json:"incidents,omitempty"`
		}{len(failing) == 0, failing, env.Health.Noted()})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(env.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// An error means that the client disconnected, which needs no action.
	_ = json.NewEncoder(w).Encode(body)
}
