package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	random "math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/soak"
	"github.com/tollgate/tollgate/services/systemtest/trigger/model"
)

// ruleOf is a rule as the soak has it in each revision: all of them, and active.
func ruleOf(_ int64, code string) model.Rule {
	r := model.RuleAt(1, code)
	r.Exists, r.Active = true, true
	return r
}

// configure makes the tenant, its endpoints and the rules, and returns once they are in force.
func configure(ctx context.Context, b *soak.Bed) error {
	resources := []proto.Message{&configv1.Tenant{Name: "tenants/acme", TimeZone: "Europe/Berlin"}}
	for _, id := range []string{"crm", "app"} {
		resources = append(resources, &configv1.Endpoint{
			Name: "tenants/acme/endpoints/" + id, Url: "https://" + id + ".example/", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
			Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS, Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text()))},
		})
	}
	for _, code := range model.Codes {
		r := ruleOf(0, code)
		n := r.Notification()
		n.Version = 0
		resources = append(resources, n)
	}
	revision, err := b.Fleet.Configure(ctx, resources...)
	return errors.Join(err, b.Ready(ctx), b.Fleet.AwaitRevision(ctx, stream.EventsOrdered, revision))
}

// Rates: a batch every tick, by which log time moves on, and one in repeats is sent again by its producer.
const (
	tick     = 50 * time.Millisecond
	pace     = 3 * time.Minute
	batch    = 10
	repeats  = 40
	subjects = 100
)

// traffic is what comes in.
type traffic struct {
	bed    *soak.Bed
	rand   *random.Rand
	now    time.Time // log time
	events int
}

// run sends events until stretch ends. What may have been lost is sent again with what stands behind it.
func (t *traffic) run(ctx, stretch context.Context) error {
	producer := t.bed.Fleet.Client.NewProducer()
	defer producer.Close(context.WithoutCancel(ctx)) //nolint:errcheck // each batch was acknowledged
	topic := t.bed.Fleet.Client.Topic(stream.EventsOrdered)
	for pause.For(stretch, tick) {
		var records []stream.Record
		for range batch {
			t.now = t.now.Add(pace / batch)
			t.events++
			e := model.Draw(t.rand, subjects, t.now)
			e.ID, e.ReceivedAt = fmt.Sprint("e-", t.events), t.now
			r, err := e.Record(topic)
			if err != nil {
				return err
			}
			if records = append(records, r); t.rand.IntN(repeats) == 0 {
				records = append(records, records[t.rand.IntN(len(records))])
			}
		}
		for {
			calling, cancel := context.WithTimeout(ctx, 30*time.Second)
			_, err := producer.ProduceResults(calling, records...)
			cancel()
			if err == nil {
				break
			}
			if !pause.For(ctx, 200*time.Millisecond) {
				return fmt.Errorf("send events: %w", err)
			}
		}
	}
	return nil
}
