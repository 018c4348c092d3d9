package email

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/channel/email"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// list is the configuration service and what is followed of it; a test decides what arrives.
type list struct {
	ready chan struct{}

	mu       sync.Mutex
	names    map[string]bool
	revision int64
	changed  chan struct{}
	// calls are those of UpdateSuppression; each is answered by the first of answers, the last one stays.
	calls   []*configv1.Suppression
	answers []codes.Code
}

func newList() *list {
	return &list{ready: make(chan struct{}), names: map[string]bool{}, changed: make(chan struct{}), answers: []codes.Code{codes.OK}}
}

func (l *list) Ready() <-chan struct{} { return l.ready }

func (l *list) Has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[name]
}

func (l *list) Includes(revision int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision >= revision
}

func (l *list) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// receive is a part of the stream that ends at a revision.
func (l *list) receive(revision int64, names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision, l.names = revision, map[string]bool{}
	for _, name := range names {
		l.names[name] = true
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// UpdateSuppression stores each address in revision 7.
func (l *list) UpdateSuppression(_ context.Context, q *configv1.UpdateSuppressionRequest, _ ...grpc.CallOption) (*configv1.Suppression, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, q.GetSuppression())
	code := l.answers[0]
	if len(l.answers) > 1 {
		l.answers = l.answers[1:]
	}
	if code != codes.OK {
		return nil, status.Error(code, "no")
	}
	return &configv1.Suppression{Name: q.GetSuppression().GetName(), Metadata: &configv1.Metadata{Revision: 7}}, nil
}

func TestSuppressions_FoundOnesCountUntilTheListHasThem(t *testing.T) {
	const name = "tenants/acme/suppressions/ana%40mail.example"
	ana, err := email.ParseAddress("Ana@mail.example")
	if err != nil {
		t.Fatal(err)
	}
	for title, c := range map[string]struct {
		answers []codes.Code
		// listed is what the list has at revision 7, and until is when it comes; 0: never.
		listed []string
		until  time.Duration
		// suppressed is by seconds from the refusal on.
		suppressed map[int]bool
		calls      int
	}{
		"it is in the list":                          {listed: []string{name}, until: 2 * time.Second, suppressed: map[int]bool{1: true, 3: true, 60: true}, calls: 1},
		"it was deleted before this process knew it": {until: 2 * time.Second, suppressed: map[int]bool{1: true, 3: false}, calls: 1},
		"the service is away and comes again": {
			answers: []codes.Code{codes.Unavailable, codes.Unavailable, codes.OK}, listed: []string{name}, until: 12 * time.Second,
			suppressed: map[int]bool{1: true, 11: true, 13: true}, calls: 3,
		},
		"the service refuses it": {answers: []codes.Code{codes.NotFound}, suppressed: map[int]bool{1: false}, calls: 1},
		"the list is lost":       {suppressed: map[int]bool{9: true, 11: false}, calls: 1},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newList()
				if c.answers != nil {
					l.answers = c.answers
				}
				s := newSuppressions(l, l, zap.NewNop())
				var running sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				defer func() { cancel(); running.Wait() }()
				running.Go(func() { s.report(ctx) })
				s.add("acme", ana, "rcpt: 550 5.1.1 no such mailbox")
				s.add("acme", ana, "rcpt: 550 5.1.1 no such mailbox") // of another message under way
				if _, known := s.has("acme", ana); known {
					t.Error("it is known before the list was read")
				}
				close(l.ready)
				for second := range 61 {
					if c.until != 0 && time.Duration(second)*time.Second == c.until {
						l.receive(7, c.listed...)
					}
					synctest.Wait()
					if want, given := c.suppressed[second]; given {
						if got, known := s.has("acme", ana); got != want || !known {
							t.Errorf("after %d s: suppressed %t, known %t", second, got, known)
						}
					}
					time.Sleep(time.Second)
				}
				if len(l.calls) != c.calls || l.calls[0].GetName() != name || l.calls[0].GetSource() != "email" || l.calls[0].GetReason() != "rcpt: 550 5.1.1 no such mailbox" || l.calls[0].GetTime() == nil {
					t.Errorf("reported %v", l.calls)
				}
				if len(s.found) != 0 {
					t.Errorf("%v is kept for ever", s.found)
				}
				if c.listed != nil {
					s.add("acme", ana, "again")
					synctest.Wait()
					if len(l.calls) != c.calls {
						t.Error("one that the list has is reported again")
					}
				}
			})
		})
	}
}

// An answer once was cut within a character: such a text can't be sent, and was tried for ever.
func TestSuppressions_ReasonsAreCutBetweenCharacters(t *testing.T) {
	s := newSuppressions(newList(), nil, zap.NewNop())
	ana, err := email.ParseAddress("ana@mail.example")
	if err != nil {
		t.Fatal(err)
	}
	s.add("acme", ana, "x"+strings.Repeat("é", maxReason))
	if got := (<-s.reports).GetReason(); len(got) != maxReason-1 || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
