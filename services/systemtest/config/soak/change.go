package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

const (
	tenant = "tenants/acme"
	// hands is how many change at once, each resources of its own.
	hands = 4
	// each is how many resources a hand has.
	each = 25
	// callTimeout is shorter than the time a replica stands still.
	callTimeout = 5 * time.Second
)

// writers change resources. Only one hand changes a resource, with the etag of what it read last, so it knows of each of
// its revisions, also of one whose answer was lost.
type writers struct {
	check *check
	lost  atomic.Int64
	hands []*hand
}

type hand struct {
	*writers
	rand      *rand.Rand
	replicas  []configv1.EndpointServiceClient
	resources []*resource
	word      int
	number    int
}

// resource is an endpoint as its hand knows it.
type resource struct {
	name string
	// word is what stands; etag and revision are its, 0 where there is none.
	word     string
	etag     string
	revision int64
	deleted  bool
	// tried are words whose change was not answered.
	tried map[string]bool
}

func newWriters(ctx context.Context, b *bed, c *check, seed uint64) (*writers, error) {
	if _, err := b.fleet.Configure(ctx, &configv1.Tenant{Name: tenant}); err != nil {
		return nil, err
	}
	w := &writers{check: c}
	for i := range hands {
		h := &hand{writers: w, rand: rand.New(rand.NewPCG(seed, uint64(10+i))), number: i}
		for _, m := range b.replicas {
			conn, err := b.fleet.Dial(m.Address("grpc"))
			if err != nil {
				return nil, err
			}
			h.replicas = append(h.replicas, configv1.NewEndpointServiceClient(conn))
		}
		for n := range each {
			h.resources = append(h.resources, &resource{name: fmt.Sprintf("%s/endpoints/e-%d-%d", tenant, i, n), tried: map[string]bool{}})
		}
		w.hands = append(w.hands, h)
	}
	return w, nil
}

// unanswered is how many changes were not answered.
func (w *writers) unanswered() int64 { return w.lost.Load() }

// run changes until stretch ends.
func (w *writers) run(ctx, stretch context.Context) error {
	var all []func() error
	for _, h := range w.hands {
		all = append(all, func() error {
			for pause.For(stretch, 20*time.Millisecond) {
				if err := h.change(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return kills.Together(all...)
}

// settle reads what became of changes that were not answered.
func (w *writers) settle(ctx context.Context) error {
	for _, h := range w.hands {
		for _, r := range h.resources {
			if err := h.read(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// change changes one resource, through either replica.
func (h *hand) change(ctx context.Context) error {
	r := h.resources[h.rand.IntN(len(h.resources))]
	through := h.replicas[h.rand.IntN(len(h.replicas))]
	h.word++
	word := fmt.Sprintf("%d-%d", h.number, h.word)
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var made *configv1.Endpoint
	var err error
	switch {
	case r.revision == 0:
		made, err = through.CreateEndpoint(calling, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
			Name: r.name, Url: "https://hooks.example.com/x", DisplayName: word, Secrets: []string{"whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"},
		}})
	case r.deleted:
		word = r.word // an undelete brings back what was
		made, err = through.UndeleteEndpoint(calling, &configv1.UndeleteEndpointRequest{Name: r.name, Etag: r.etag})
	case h.rand.IntN(8) == 0:
		word = r.word
		made, err = through.DeleteEndpoint(calling, &configv1.DeleteEndpointRequest{Name: r.name, Etag: r.etag})
	default:
		made, err = through.UpdateEndpoint(calling, &configv1.UpdateEndpointRequest{
			Endpoint:   &configv1.Endpoint{Name: r.name, DisplayName: word, Metadata: &configv1.Metadata{Etag: r.etag}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
		})
	}
	if err == nil {
		return h.took(r, made, word)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch fault.KindOf(fault.FromGRPC(err)) {
	case fault.Invalid, fault.Denied, fault.Unauthenticated:
		return fmt.Errorf("change %s: %w", r.name, err)
	}
	h.lost.Add(1)
	r.tried[word] = true
	return h.read(ctx, r)
}

// took notes a revision that was answered.
func (h *hand) took(r *resource, made *configv1.Endpoint, word string) error {
	m := made.GetMetadata()
	if made.GetDisplayName() != word {
		return fmt.Errorf("%s: a change to %q answers %q", r.name, word, made.GetDisplayName())
	}
	r.word, r.etag, r.revision, r.deleted = word, m.GetEtag(), m.GetRevision(), m.GetDeleteTime() != nil
	clear(r.tried)
	h.check.made(change{name: r.name, revision: r.revision, word: word, deleted: r.deleted})
	return nil
}

// read brings what is known of a resource up to what stands, by whichever replica answers first.
func (h *hand) read(ctx context.Context, r *resource) error {
	for i := 0; ; i++ {
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		found, err := h.replicas[i%len(h.replicas)].GetEndpoint(calling, &configv1.GetEndpointRequest{Name: r.name})
		cancel()
		switch {
		case err == nil:
			return h.found(r, found)
		case fault.KindOf(fault.FromGRPC(err)) == fault.NotFound:
			if r.revision > 0 {
				h.check.report(&h.check.lost, "%s, made in revision %d, is not there", r.name, r.revision)
			}
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return errors.Join(fmt.Errorf("read %s: %w", r.name, ctx.Err()), err)
		}
	}
}

// found compares what stands with what was answered, and with what was tried since.
func (h *hand) found(r *resource, found *configv1.Endpoint) error {
	m := found.GetMetadata()
	switch {
	case m.GetRevision() == r.revision:
		if found.GetDisplayName() != r.word || (m.GetDeleteTime() != nil) != r.deleted {
			h.check.report(&h.check.doubled, "revision %d of %s is %q, and was answered as %q", r.revision, r.name, found.GetDisplayName(), r.word)
		}
		return nil
	case m.GetRevision() < r.revision:
		h.check.report(&h.check.lost, "%s is of revision %d, and %d was answered", r.name, m.GetRevision(), r.revision)
		return nil
	case !r.tried[found.GetDisplayName()]:
		h.check.report(&h.check.doubled, "revision %d of %s is %q, which was answered already or never asked for", m.GetRevision(), r.name, found.GetDisplayName())
	}
	return h.took(r, found, found.GetDisplayName())
}
