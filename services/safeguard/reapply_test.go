package safeguard

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func (r *replica) reapply(partition int32, edits ...func(*optionsv1.ReapplyRequest)) *optionsv1.ReapplyResponse {
	r.f.Helper()
	req := &optionsv1.ReapplyRequest{Name: "tenants/acme/classesOfService/gold", Partition: partition}
	for _, edit := range edits {
		edit(req)
	}
	s, err := r.audit.Reapply(r.f.ctx, req)
	if err != nil {
		r.f.Fatal(err)
	}
	var last *optionsv1.ReapplyResponse
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			r.f.Fatal(err)
		}
		last = m
	}
}

// A class is changed: subscribers have an outcome of it as they are reapplied, each once, from any replica.
func TestReapply_TakesOverAChangedClass(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		c := f.configure(safeguardtest.Gold())
		first, second := f.start(), f.start()
		f.shared(first, second)
		f.configured()
		f.publish(activations()...)
		f.outcomes(crowd)
		for i := range crowd {
			first.shows(subject(i))
		}
		c.revise(8, safeguardtest.Gold(safeguardtest.Limit("60")))
		class := &optionsv1.ListOptionsRequest{Parent: "tenants/acme/classesOfService/gold"}
		for _, r := range []*replica{first, second} {
			for {
				m, err := r.catalog.ListOptions(f.ctx, class)
				if err != nil {
					f.Fatal(err)
				}
				if m.GetRevision() == 8 {
					break // it follows the revision
				}
			}
		}
		var seen, appended int64
		for p := range int32(4) {
			began := time.Now()
			m, again := first.reapply(p, func(q *optionsv1.ReapplyRequest) { q.Rate = 50 }), second.reapply(p)
			if least := time.Duration(m.GetAppended()-1) * time.Second / 50; time.Since(began) < least {
				f.Errorf("%d subscribers at 50 a second took %s", m.GetAppended(), time.Since(began))
			}
			if !m.GetDone() || !again.GetDone() || again.GetAppended() != 0 || again.GetSeen() != m.GetSeen() {
				f.Errorf("partition %d: %v, and again %v", p, m, again)
			}
			seen, appended = seen+m.GetSeen(), appended+m.GetAppended()
		}
		if seen != crowd || appended != crowd {
			f.Errorf("%d seen, %d appended", seen, appended)
		}
		for number, lines := range f.outcomes(2 * crowd) {
			if diff := cmp.Diff([]string{"activated 0/50 ACTIVATION", "limit_changed 0/60 CATALOG"}, lines); diff != "" {
				f.Errorf("%s: %s", number, diff)
			}
			if m := second.shows(number); safeguardtest.Amount(m.GetLimit()) != "60" || m.GetRevision() != 8 {
				f.Errorf("%s shows %v", number, m)
			}
		}
		shown, err := second.catalog.ListOptions(f.ctx, class)
		if err != nil || shown.GetRevision() != 8 || safeguardtest.Amount(shown.GetDataSafeguard().GetOption().GetCutOff()) != "60" || shown.GetPaymentSafeguard() != nil {
			f.Errorf("the catalog shows %v, %v", shown, err)
		}
	})
}
