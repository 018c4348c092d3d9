package configclient

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// service is the configuration service as a Source calls it, with every revision up to newest.
type service struct {
	configv1.ConfigWatchServiceClient // methods that no test here calls

	mu      sync.Mutex
	away    bool
	deaf    bool   // calls are not even refused
	text    string // in the only tenant: makes two contents differ
	newest  int64
	history uint64
	ends    []*configv1.Position
	changed chan struct{}
	apiKeys []*configv1.ApiKey
	masks   bool           // secrets, as for a key that is no service's
	keyset  *secret.Keyset // secrets are encrypted with it, where not nil
	asked   []int64
	watches int
	known   []*configv1.Position // of the last watch
	hold    chan struct{}        // Snapshot waits for it, where not nil
}

func newService(newest int64) *service { return &service{newest: newest, history: theirs} }

// theirs is a history.
const theirs = 0xa11

func of(n int64) state.Revision { return state.Revision{History: theirs, Number: n} }

func (s *service) message(n int64) *configv1.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := message(n)
	m.Tenants[0].DisplayName = s.text
	if s.masks {
		m.Endpoints[0].Secrets[0], m.Endpoints[0].Headers[0].Value = "whsec_****GVu=", "****"
	}
	if s.keyset != nil {
		if _, err := webhook.Channel.Target.Encrypt(m.Endpoints[0], s.keyset); err != nil {
			panic(err)
		}
	}
	m.History, m.ApiKeys = s.history, s.apiKeys
	return m
}

func (s *service) set(away bool, newest int64) {
	s.becomes(func() { s.away, s.newest = away, newest })
}

func (s *service) becomes(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *service) state() (bool, *configv1.WatchResponse, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, &configv1.WatchResponse{
		Revision: s.newest, ApplyRevision: s.newest, History: s.history, ApplyHistory: s.history, Ends: s.ends,
	}, s.changed
}

func (s *service) watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

func (s *service) reportedKnown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range s.known {
		out = append(out, fmt.Sprintf("%x:%d", p.GetHistory(), p.GetRevision()))
	}
	return out
}

func (s *service) snapshots() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

var errAway = fault.New(fault.Unavailable, "UNAVAILABLE", "connection refused")

func message(n int64) *configv1.Snapshot {
	return &configv1.Snapshot{
		Revision: n, ApplyRevision: n, Tenants: []*configv1.Tenant{{Name: "tenants/a"}},
		Endpoints: []*configv1.Endpoint{{
			Name: "tenants/a/endpoints/e", Metadata: &configv1.Metadata{Etag: "etag"}, DisplayName: "hidden-name", Url: "https://hidden.example",
			Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS, PersonalData: configv1.PersonalData_PERSONAL_DATA_INCLUDE,
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT, Secrets: []string{"whsec_aGlkZGVu"}, CaCertificates: "hidden-pem",
			Headers: []*configv1.CustomHeader{{Name: "Authorization", Value: "Bearer hidden-value"}},
		}},
	}
}

func (s *service) Snapshot(ctx context.Context, req *configv1.SnapshotRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.SnapshotResponse], error) {
	s.mu.Lock()
	s.asked = append(s.asked, req.GetRevision())
	hold, deaf := s.hold, s.deaf
	s.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if hold != nil {
		<-hold
	}
	away, head, _ := s.state()
	switch {
	case away:
		return nil, errAway
	case req.GetRevision() > head.GetRevision(), req.GetHistory() != 0 && req.GetHistory() != head.GetHistory():
		return nil, fault.New(fault.NotFound, "REVISION_UNKNOWN", "not known")
	}
	n := req.GetRevision()
	if n == 0 {
		n = head.GetRevision()
	}
	whole := s.message(n)
	if req.GetPlanned() {
		whole.Endpoints[0] = &configv1.Endpoint{
			Name: whole.Endpoints[0].GetName(), Profile: whole.Endpoints[0].GetProfile(), PersonalData: whole.Endpoints[0].GetPersonalData(),
			Status: whole.Endpoints[0].GetStatus(),
		}
	}
	if list := req.GetLists(); len(list) == 1 && list[0] == keysList {
		whole.Tenants, whole.Endpoints = nil, nil
	}
	return &parts{whole: whole}, nil
}

// parts sends each resource by itself.
type parts struct {
	grpc.ServerStreamingClient[configv1.SnapshotResponse]
	whole *configv1.Snapshot
	sent  bool
}

func (p *parts) Recv() (*configv1.SnapshotResponse, error) {
	part := &configv1.Snapshot{Revision: p.whole.GetRevision(), ApplyRevision: p.whole.GetApplyRevision(), History: p.whole.GetHistory()}
	switch {
	case len(p.whole.Tenants) > 0:
		part.Tenants, p.whole.Tenants = p.whole.Tenants[:1], p.whole.Tenants[1:]
	case len(p.whole.Endpoints) > 0:
		part.Endpoints, p.whole.Endpoints = p.whole.Endpoints[:1], p.whole.Endpoints[1:]
	case len(p.whole.ApiKeys) > 0:
		part.ApiKeys, p.whole.ApiKeys = p.whole.ApiKeys[:1], p.whole.ApiKeys[1:]
	default:
		if p.sent {
			return nil, io.EOF
		}
	}
	p.sent = true
	return &configv1.SnapshotResponse{Snapshot: proto.CloneOf(part)}, nil // each client has its own, as over gRPC
}

func (s *service) Watch(ctx context.Context, req *configv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.WatchResponse], error) {
	s.mu.Lock()
	s.watches++
	s.known = req.GetKnown()
	deaf := s.deaf
	s.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if away, _, _ := s.state(); away {
		return nil, errAway
	}
	return &watch{ctx: ctx, service: s}, nil
}

type watch struct {
	grpc.ServerStreamingClient[configv1.WatchResponse]
	ctx     context.Context
	service *service
	last    *configv1.WatchResponse
}

// Recv returns a new head once and then blocks: the Source must notice.
func (w *watch) Recv() (*configv1.WatchResponse, error) {
	for {
		away, head, changed := w.service.state()
		if away {
			return nil, errAway
		}
		if w.last == nil || !proto.Equal(head, w.last) {
			w.last = head
			return head, nil
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		}
	}
}

// keys is a KeyStore in memory, of every space.
type keys struct {
	mu     sync.Mutex
	values map[spaced]*kept
	parts  map[string][]byte // by space and address
	puts   int               // of parts
	named  map[state.Partition]state.Revision
	seen   map[uint64]int64
	swept  int
	err    error
}

type spaced struct {
	space string
	r     state.Revision
}

type kept struct {
	head      []byte
	addresses []string
}

func newKeys() *keys {
	return &keys{
		values: map[spaced]*kept{}, parts: map[string][]byte{}, named: map[state.Partition]state.Revision{}, seen: map[uint64]int64{},
	}
}

// has is all that is stored of a revision of the service that compiles; nil where it is not there.
func (k *keys) has(r state.Revision) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.content(spaced{spaceOf(planning), r})
}

func (k *keys) content(at spaced) []byte {
	v := k.values[at]
	if v == nil {
		return nil
	}
	all := slices.Clone(v.head)
	for _, a := range v.addresses {
		all = append(all, k.parts[at.space+a]...)
	}
	return all
}

func (k *keys) fails(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *keys) empty() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.values)
	clear(k.parts)
	clear(k.named)
}

func (k *keys) GetRevision(_ context.Context, space string, r state.Revision) ([]byte, []string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.values[spaced{space, r}]; v != nil {
		return v.head, v.addresses, k.err
	}
	return nil, nil, k.err
}

func (k *keys) NewestRevision(_ context.Context, space string) (newest state.Revision, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at := range k.values {
		if at.space == space && at.r.Number > newest.Number {
			newest = at.r
		}
	}
	return newest, k.err
}

func (k *keys) GetParts(_ context.Context, space string, addresses []string) (all [][]byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range addresses {
		all = append(all, k.parts[space+a])
	}
	return all, k.err
}

func (k *keys) PutParts(_ context.Context, space string, addresses []string, bodies [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		for i, a := range addresses {
			k.parts[space+a] = bodies[i]
			k.puts++
		}
	}
	return k.err
}

func (k *keys) PutRevision(_ context.Context, space string, r state.Revision, head []byte, addresses []string) (missing []int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, a := range addresses {
		if k.parts[space+a] == nil {
			missing = append(missing, i)
		}
	}
	if k.err == nil && len(missing) == 0 {
		k.values[spaced{space, r}] = &kept{head, addresses}
	}
	return missing, k.err
}

func (k *keys) HoldRevision(_ context.Context, space string, r state.Revision) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[spaced{space, r}] != nil, k.err
}

func (k *keys) NameRevisions(_ context.Context, _ string, named map[state.Partition]state.Revision) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.Copy(k.named, named)
	return k.err
}

func (k *keys) SweepRevisions(context.Context, string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.swept++
	return k.err
}

func (k *keys) SeenRevisions(context.Context) ([]state.Revision, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []state.Revision
	for h, n := range k.seen {
		out = append(out, state.Revision{History: h, Number: n})
	}
	return out, k.err
}

func (k *keys) SeeRevision(_ context.Context, r state.Revision) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[r.History] = max(k.seen[r.History], r.Number)
	return k.err
}

type nothing struct{}

func (nothing) Close() error { return nil }

var _ io.Closer = nothing{}

// following runs f with a Source in a bubble of time.
func following(t *testing.T, s *service, k KeyStore, f func(t *testing.T, source *Source, env daemon.Env)) {
	compiling(t, s, k, func(t *testing.T, source *Source, _ *Compiled[*Snapshot], env daemon.Env) { f(t, source, env) })
}

// planning is the name of the service that compiles, and its space in the store.
const planning = "trigger"

// compiling is following with compiled snapshots.
func compiling(t *testing.T, s *service, k KeyStore, f func(t *testing.T, source *Source, c *Compiled[*Snapshot], env daemon.Env)) {
	synctest.Test(t, func(t *testing.T) {
		// Channels belong to the bubble they were made in.
		s.changed = make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		env := daemon.NewEnv(planning, zap.NewNop())
		source, err := open(ctx, s, nothing{}, "", env, k, Needs{Planned: true})
		if err != nil {
			t.Fatal(err)
		}
		c := Compile(ctx, source, func(s *Snapshot, _ *Snapshot) *Snapshot { return s })
		synctest.Wait()
		f(t, source, c, env)
		stop()
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func newestIs(t *testing.T, s *Source, want int64, wantOK bool) {
	t.Helper()
	apply, all, ok := s.Newest()
	if apply != want || all != want || ok != wantOK {
		t.Errorf("newest %d, %d, %v; want %d, %v", apply, all, ok, want, wantOK)
	}
}
