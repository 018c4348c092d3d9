package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/receiver"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// compared measures calls one after the other, each beside a bare loop over the same handlers.
func (b *bed) compared(ctx context.Context) error {
	body, err := question()
	if err != nil {
		return err
	}
	bare := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer bare.CloseIdleConnections()
	deciding := provisionv1.NewProvisioningServiceClient(b.conns[0])
	n := 0
	one := func() (decide, loop time.Duration, err error) {
		n++
		req, err := action(typeOfThree, fmt.Sprint("compared-", n))
		if err != nil {
			return 0, 0, err
		}
		began := time.Now()
		res, err := deciding.Decide(ctx, req)
		decide = time.Since(began)
		if err != nil {
			return 0, 0, err
		}
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS || len(res.GetHandlers()) != 3 {
			return 0, 0, fmt.Errorf("not decided by three handlers: %v", res)
		}
		began = time.Now()
		for i := range 3 {
			if err := post(ctx, bare, b.handlers.url(i), body); err != nil {
				return 0, 0, err
			}
		}
		return decide, time.Since(began), nil
	}
	for began := time.Now(); time.Since(began) < b.warmUp; {
		if _, _, err := one(); err != nil {
			return err
		}
	}
	var overheads []float64
	var runs []string
	for range b.runs {
		var decides, loops []time.Duration
		for range b.calls {
			d, l, err := one()
			if err != nil {
				return err
			}
			decides, loops = append(decides, d), append(loops, l)
		}
		d, l := half(decides), half(loops)
		overheads = append(overheads, float64((d-l).Microseconds())/1000)
		runs = append(runs, fmt.Sprintf("p50 of Decide %s, of the loop %s; p99 %s and %s", d.Round(10*time.Microsecond), l.Round(10*time.Microsecond),
			bench.P99(decides).Round(10*time.Microsecond), bench.P99(loops).Round(10*time.Microsecond)))
		fleet.Report("%s", runs[len(runs)-1])
	}
	return b.Print(figure.Figure{
		Name: "provision.decide_overhead_ms", Value: figure.Round(figure.Median(overheads)), Unit: "ms", Goal: 1, Better: "lower",
		Note: fmt.Sprintf("p50 of Decide with three HTTP handlers less that of calling them in a bare loop, in turn, %d calls a run, one at a time; the event and three executions are published before the answer", b.calls),
		Runs: runs,
	})
}

// question is what the bare loop sends: as large as what handlers are asked.
func question() ([]byte, error) {
	req, err := action(typeOfThree, "bare")
	if err != nil {
		return nil, err
	}
	data, err := req.GetData().UnmarshalNew()
	if err != nil {
		return nil, err
	}
	return receiver.Question(&event.Event{ID: "0123456789abcdef0123456789abcdef", Type: typeOfThree, Subject: "client/7401", Time: time.Now(), Data: data}, receiver.StageBefore)
}

func post(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func half(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}
