package ingest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// httpAPI is POST /v1/events: one CloudEvent in binary or structured mode, or a batch in JSON.
type httpAPI struct {
	cfg        HTTP
	env        daemon.Env
	authorizer *rpc.Authorizer
	budget     *rpc.Budget
	publisher  *publisher
	limits     *limiter
	log        rejections
	metrics    *transportMetrics
	listener   net.Listener
	// secure is nil in plain text.
	secure *tls.Config
	// one and object read an event: a request's own, and one of a batch.
	one    func(event.Parser, request) (*event.Event, error)
	object func(event.Parser, []byte) (*event.Event, error)
}

// request is what is read of one that brings one event.
type request struct {
	header func(name string) []string
	body   []byte
}

// newHTTPAPI binds the listener.
func newHTTPAPI(cfg HTTP, env daemon.Env, grpc *rpc.Server, publisher *publisher, limits *limiter,
	metrics *transportMetrics) (*httpAPI, error) {
	secure, err := certificate.Server(cfg.files(), "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	if err := env.Health.WatchCertificates("http", cfg.files()); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	return &httpAPI{
		cfg: cfg, env: env, authorizer: grpc.Authorizer(), budget: grpc.Budget(), publisher: publisher, limits: limits,
		log: newRejections(env.Log, "http"), metrics: metrics, listener: rpc.LimitConnections(l), secure: secure,
		one:    func(p event.Parser, r request) (*event.Event, error) { return p.HTTP(r.header, r.body) },
		object: event.Parser.JSON,
	}, nil
}

// serve answers until ctx ends, then finishes the requests under way.
func (d *httpAPI) serve(ctx context.Context) error {
	defer d.env.InFlight.Add("HTTP requests under way")()
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/events", d.authenticated(d.withinBudget(d.events)))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		d.refuse(w, fault.New(fault.NotFound, "NOT_FOUND", "there is nothing here but /v1/events"))
	})
	server := &http.Server{
		Handler:           mux,
		TLSConfig:         d.secure,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       d.cfg.RequestTimeout,
		// A request may be read, and then published, for this long each; the answer is short.
		WriteTimeout:   2*d.cfg.RequestTimeout + 5*time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       zap.NewStdLog(d.env.Log),
	}
	ended := make(chan error, 1)
	go func() {
		if d.secure != nil {
			ended <- server.ServeTLS(d.listener, "", "")
			return
		}
		ended <- server.Serve(d.listener)
	}()
	d.env.Listeners.Announce("http", d.listener.Addr())
	d.env.Health.Set("http", nil)
	select {
	case err := <-ended:
		err = fmt.Errorf("serve HTTP: %w", err)
		d.env.Health.Set("http", err)
		return err
	case <-ctx.Done():
	}
	finishing, cancel := d.env.Finishing(ctx)
	defer cancel()
	if err := server.Shutdown(finishing); err != nil {
		return errors.Join(fmt.Errorf("finish HTTP requests: %w", err), server.Close())
	}
	return nil
}

// authenticated refuses callers without an API key that may publish, and other methods than POST, by the headers alone.
func (d *httpAPI) authenticated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			d.refuse(w, errMethod)
			return
		}
		authorization := r.Header.Get("Authorization")
		caller, _, err := d.authorizer.Authenticate(authorization)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="tollgate"`)
		} else {
			err = access.Authorize(caller, ingestv1.IngestService_PublishBatch_FullMethodName)
		}
		if err != nil {
			d.authorizer.RefuseHeaders(r.Context(), access.PublishHTTP, r.RemoteAddr, authorization, caller, err)
			d.refuse(w, err)
			return
		}
		next(w, r.WithContext(d.authorizer.WithCaller(r.Context(), caller, access.PublishHTTP, r.RemoteAddr)))
	}
}

// refuse answers a request whose body is not read to its end, and closes the connection: otherwise net/http sends the answer only once
// it has read the body, which may never come.
func (d *httpAPI) refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Connection", "close")
	d.problem(w, err)
}

func (d *httpAPI) events(w http.ResponseWriter, r *http.Request) {
	batch := event.IsBatch(r.Header.Get("Content-Type"))
	limit := int64(event.MaxBytes)
	if batch {
		limit = d.cfg.MaxBodyBytes
	}
	if event.IsForeign(r.Header.Get("Content-Type")) {
		// With its body it would be answered likewise.
		d.refuse(w, d.takeOne(r.Context(), r, nil).err)
		return
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		if fault.KindOf(err) == fault.Invalid {
			d.metrics.reject(err)
		}
		d.refuse(w, err)
		return
	}
	if err := takeValues(r.Context(), body); err != nil {
		d.problem(w, err)
		return
	}
	ctx, cancel := within(r.Context(), d.cfg.RequestTimeout)
	defer cancel()
	if batch {
		d.batch(ctx, w, body)
		return
	}
	if err := d.limits.take(ctx, 1, len(body)); err != nil {
		d.problem(w, err)
		return
	}
	a := d.takeOne(ctx, r, body)
	if a.err != nil {
		rpc.Refuse(ctx, a.err)
		d.problem(w, a.err)
		return
	}
	d.write(w, http.StatusOK, "application/json", newReceipt(a.receipt))
}

func (d *httpAPI) takeOne(ctx context.Context, r *http.Request, body []byte) answer {
	one := inputs{1, func(_ int, p event.Parser) (*event.Event, error) {
		return guarded(d.log, d.one, p, request{r.Header.Values, body})
	}}
	return d.publisher.take(ctx, one, d.log, d.metrics)[0]
}

// batch answers 200 where every event was accepted, else 207 with a status for each, in order.
func (d *httpAPI) batch(ctx context.Context, w http.ResponseWriter, body []byte) {
	objects, err := event.SplitBatch(body, maxBatch)
	if err != nil {
		d.metrics.reject(err)
		d.problem(w, err)
		return
	}
	if err := d.limits.take(ctx, len(objects), len(body)); err != nil {
		d.problem(w, err)
		return
	}
	status := http.StatusOK
	results := make([]result, len(objects))
	in := inputs{len(objects), func(i int, p event.Parser) (*event.Event, error) { return guarded(d.log, d.object, p, objects[i]) }}
	for i, a := range d.publisher.take(ctx, in, d.log, d.metrics) {
		if a.err != nil {
			rpc.Refuse(ctx, a.err)
			p := newProblem(a.err)
			results[i] = result{Status: p.Status, Problem: p}
			status = http.StatusMultiStatus
			continue
		}
		results[i] = result{Status: http.StatusOK, Receipt: newReceipt(a.receipt)}
	}
	d.write(w, status, "application/json", map[string]any{"results": results})
}

// result is one event's of a batch.
type result struct {
	Status  int      `json:"status"`
	Receipt *receipt `json:"receipt,omitempty"`
	Problem *problem `json:"problem,omitempty"`
}

// receipt is tollgate.ingest.v1.Receipt in Protobuf's JSON.
type receipt struct {
	ID         string `json:"id"`
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Offset     string `json:"offset"`
	ReceivedAt string `json:"receivedAt"`
}

func newReceipt(r *ingestv1.Receipt) *receipt {
	return &receipt{
		ID: r.GetId(), Topic: r.GetTopic(), Partition: r.GetPartition(), Offset: strconv.FormatInt(r.GetOffset(), 10),
		ReceivedAt: r.GetReceivedAt().AsTime().Format(event.TimeLayout),
	}
}

// problem is an error as of RFC 9457, with our reason and every violation.
type problem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail"`
	Reason     string      `json:"reason"`
	Violations []violation `json:"violations,omitempty"`
	// Omitted is how many violations more there are.
	Omitted int `json:"omitted,omitempty"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

var errMethod = fault.New(fault.Invalid, "METHOD_NOT_ALLOWED", "events are sent by POST")

func newProblem(err error) *problem {
	st := fault.Status(err)
	p := &problem{Type: "about:blank", Status: statusOf(err), Detail: st.Message(), Reason: fault.ReasonOf(err)}
	p.Title = http.StatusText(p.Status)
	for _, v := range fault.ViolationsOf(err) {
		p.Violations = append(p.Violations, violation{v.Field, v.Description})
	}
	p.Omitted = fault.OmittedOf(err)
	return p
}

func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid:
		switch fault.ReasonOf(err) {
		case reason.TooLarge, reason.BatchTooLarge:
			return http.StatusRequestEntityTooLarge
		case reason.MediaTypeUnsupported, reasonEncoding:
			return http.StatusUnsupportedMediaType
		case errMethod.Reason:
			return http.StatusMethodNotAllowed
		}
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (d *httpAPI) problem(w http.ResponseWriter, err error) {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	switch fault.ReasonOf(err) {
	case reason.MediaTypeUnsupported:
		w.Header().Set("Accept", event.ContentTypes)
	case reasonEncoding:
		w.Header().Set("Accept-Encoding", acceptEncoding)
	}
	p := newProblem(err)
	d.write(w, p.Status, "application/problem+json", p)
}

func (d *httpAPI) write(w http.ResponseWriter, status int, contentType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		// Nothing in a receipt or a problem can fail to be JSON.
		d.env.Log.Error("answer not encoded", zap.Error(err))
		status, b = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(b); err != nil {
		// The caller has gone: it asks again under the same id.
		d.env.Log.Debug("answer not sent", zap.Error(err))
	}
}
