package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/tollgate/subscriberimport"
)

// importClass offers all three options, as the sample's rows want them.
func importClass() *configv1.ClassOfService {
	eur := func(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }
	return &configv1.ClassOfService{
		Name:               "tenants/" + tenant + "/classesOfService/imported",
		DataSafeguard:      &configv1.DataSafeguardOption{Limit: eur(50)},
		OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"},
		PaymentSafeguard:   &configv1.PaymentSafeguardOption{Limit: eur(300)},
	}
}

// importing measures an import of n subscribers as an operator sees it: from the first row sent until the service has
// applied the last.
func (s *bed) importing(ctx context.Context, o options) ([]figure.Figure, error) {
	var rates []float64
	fig := figure.Figure{
		Name: "safeguard.import_per_second", Unit: "subscribers/s", Goal: 50_000, Better: "higher", On: s.on,
		Note: "a CSV file over one PublishStream of ingest, until safeguard has applied every row; all are processes on the machine of the servers",
	}
	for i := range o.runs {
		took, acknowledged, err := s.importOnce(ctx, fmt.Sprintf("import-%d", i), o)
		if err != nil {
			return nil, fmt.Errorf("import %d: %w", i+1, err)
		}
		rate := float64(o.imported) / took.Seconds()
		fleet.Report("import %d: %d subscribers, %.0f/s until applied, %.0f/s until acknowledged", i+1, o.imported, rate, float64(o.imported)/acknowledged)
		rates = append(rates, rate)
		fig.Runs = append(fig.Runs, fmt.Sprintf("%.0f/s until applied, %.0f/s until acknowledged", rate, float64(o.imported)/acknowledged))
		fig.Events += int64(o.imported)
		fig.Seconds += took.Seconds()
	}
	fig.Value, fig.Seconds = figure.Round(figure.Median(rates)), figure.Round(fig.Seconds)
	return []figure.Figure{fig}, nil
}

func (s *bed) importOnce(ctx context.Context, name string, o options) (took time.Duration, acknowledged float64, err error) {
	f, err := s.installation(ctx, name, o.partitions)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	if _, err := f.Configure(ctx, importClass()); err != nil {
		return 0, 0, err
	}
	members := map[string]*fleet.Member{}
	for _, service := range []string{"safeguard", "ingest"} {
		m, err := f.Start(ctx, service)
		if err != nil {
			return 0, 0, err
		}
		if err := m.Ready(ctx); err != nil {
			return 0, 0, err
		}
		members[service] = m
	}
	conn, err := f.Dial(members["ingest"].Address("grpc"))
	if err != nil {
		return 0, 0, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	file := filepath.Join(s.dir, name+".csv")
	if err := write(file, subscriberimport.Sample{Rows: o.imported, Class: "imported", ActivatedAt: now}); err != nil {
		return 0, 0, err
	}
	var began time.Time
	sum, err := subscriberimport.Import{
		File: file, Form: subscriberimport.Form{Tenant: tenant, Separator: ','}, Conn: conn, Journal: file + ".progress", Patience: time.Minute,
		Progress: func(stage subscriberimport.Stage, _, _ int64) {
			if stage == subscriberimport.Checking {
				began = time.Now() // the last time that something is checked
			}
		},
	}.Run(ctx)
	if err != nil {
		return 0, 0, err
	}
	if sum.Accepted != int64(o.imported) {
		return 0, 0, fmt.Errorf("%d of %d rows were accepted", sum.Accepted, o.imported)
	}
	if err := counted(ctx, members["safeguard"], float64(o.imported)); err != nil {
		return 0, 0, err
	}
	return time.Since(began), sum.Seconds, nil
}

func write(path string, sample subscriberimport.Sample) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = sample.WriteTo(out)
	return errors.Join(err, out.Close())
}
