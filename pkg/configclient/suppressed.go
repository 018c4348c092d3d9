package configclient

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// The suppressions are in the store as revisions are, in a space of their own: a part is one bucket of hashes. Nothing may be sent
// without them, so a service that starts while config is away needs them too.

func (p *Suppressions) place() place {
	return place{p.source.store, p.source.space + ":suppressions", p.source.encryption}
}

// keep stores what is in force, a moment after it changed, and reads it where nothing is known yet; until ctx ends.
func (p *Suppressions) keep(ctx context.Context) {
	tick := time.NewTicker(recallEvery)
	defer tick.Stop()
	failed := false
	var checked time.Time
	for ctx.Err() == nil {
		p.mu.Lock()
		complete, unsaved, apart := p.complete, p.unsaved, p.err != nil
		p.mu.Unlock()
		due := complete && time.Since(checked) >= keepEvery
		var err error
		switch {
		case !complete && apart:
			err = p.recall(ctx)
		case unsaved || due:
			if err = p.save(ctx); err == nil && due {
				checked = time.Now()
				err = p.place().sweep(ctx)
			}
		}
		if err != nil && ctx.Err() == nil && !failed {
			p.source.log.Warn("suppressions not kept in the store, trying again", zap.Error(err))
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// save stores what is in force.
func (p *Suppressions) save(ctx context.Context) error {
	at := p.place()
	p.mu.Lock()
	position := proto.CloneOf(p.position)
	if p.incoming != nil { // the position runs ahead of what is in force
		p.mu.Unlock()
		return nil
	}
	var addresses []string
	var filled []int
	for b := range buckets {
		if len(p.names.of[b]) == 0 {
			continue
		}
		if p.names.address[b] == "" {
			p.names.address[b] = at.address(p.names.body(b))
		}
		addresses, filled = append(addresses, p.names.address[b]), append(filled, b)
	}
	p.unsaved = false
	p.mu.Unlock()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(position)
	if err == nil {
		err = at.put(ctx, storedAs(position), content, addresses, func(i int) []byte {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.names.address[filled[i]] != addresses[i] {
				return nil
			}
			return p.names.body(filled[i])
		})
	}
	if err != nil {
		p.mu.Lock()
		p.unsaved = true
		p.mu.Unlock()
	}
	return err
}

// storedAs is the revision that a list is stored as. That of no suppression is 1: 0 is none.
func storedAs(p *configv1.Position) state.Revision {
	return state.Revision{History: p.GetHistory(), Number: p.GetRevision() + 1}
}

// body of a bucket as it is stored.
func (n *names) body(bucket int) []byte {
	all := slices.SortedFunc(maps.Keys(n.of[bucket]), func(a, b nameHash) int { return bytes.Compare(a[:], b[:]) })
	out := make([]byte, 0, len(all)*len(nameHash{}))
	for _, h := range all {
		out = append(out, h[:]...)
	}
	return out
}

// recall takes what a replica has stored.
func (p *Suppressions) recall(ctx context.Context) error {
	at := p.place()
	asking, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	r, err := at.store.NewestRevision(asking, at.space)
	if err != nil || r.Number == 0 {
		return err
	}
	content, addresses, err := at.get(asking, r)
	if errors.Is(err, errRefused) {
		p.source.refuseStore(err)
	}
	if err != nil || content == nil {
		return err
	}
	position := &configv1.Position{}
	if err := proto.Unmarshal(content, position); err != nil || storedAs(position) != r {
		return errRefused
	}
	stored := &names{}
	whole, err := at.parts(asking, addresses, func(_ string, body []byte) error {
		for ; len(body) >= len(nameHash{}); body = body[len(nameHash{}):] {
			stored.set(nameHash(body[:len(nameHash{})]), true)
		}
		return nil
	})
	if err != nil || !whole {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.complete {
		return nil
	}
	p.names, p.position, p.read = stored, position, position.GetRevision()
	p.source.log.Info("suppressions read from the store", zap.Int("number", stored.n), zap.Int64("revision", p.read))
	p.announce()
	return nil
}
