package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

type story struct {
	name    string
	happens func(p *partition)
	want    []string
}

// run works each story twice, in batches of any size and of one record: that leaves no trace.
func run(t *testing.T, stories []story) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			for _, fetch := range []int{1000, 1} {
				p := newPartition(t)
				p.fetch = fetch
				s.happens(p)
				if diff := cmp.Diff(s.want, p.published()); diff != "" {
					t.Errorf("in batches of %d:\n%s", fetch, diff)
				}
			}
		})
	}
}

// active begins with a subscriber of class gold; outcomes until here are not looked at.
func active(p *partition, edits ...func(*configv1.DataSafeguardOption)) {
	p.configures(gold(edits...))
	p.activates()
	p.forget()
}
