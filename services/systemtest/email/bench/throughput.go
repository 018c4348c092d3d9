package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// service measures the email service over a number of profiles.
func (b *bed) service(ctx context.Context, profiles, perSecond int, length time.Duration, change func(*configv1.SmtpProfile)) (out bench.Measured, err error) {
	f, revision, err := b.installation(ctx, profiles, func(_ int, p *configv1.SmtpProfile) { change(p) })
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	run := bench.Run{Count: b.receiver.count, WarmUp: b.warmUp, Length: length, Total: int(float64(perSecond) * (b.warmUp + length).Seconds())}
	began := time.Now()
	if err := (&planner{fleet: f, revision: revision, user: "user-"}).plan(ctx, run.Total, profiles); err != nil {
		return out, err
	}
	fleet.Report("%d messages of %d profiles are planned after %.1f s", run.Total, profiles, time.Since(began).Seconds())
	before, err := b.receiver.count()
	if err != nil {
		return out, err
	}
	m, err := f.Start(ctx, "email")
	if err != nil {
		return out, err
	}
	run.Processor = m.Processor
	if b.profile != "" {
		profiled := b.profiled(ctx, m)
		defer func() { err = errors.Join(err, <-profiled) }()
	}
	if out, err = run.Watch(ctx, before); err != nil {
		return out, err
	}
	return out, errors.Join(m.Stop(ctx), b.receiver.once())
}

// profiled keeps a processor profile of a member, over the measured time.
func (b *bed) profiled(ctx context.Context, m *fleet.Member) <-chan error {
	done := make(chan error, 1)
	go func() {
		content, err := m.Profile(ctx, b.warmUp+b.length)
		if err == nil {
			err = os.WriteFile(b.profile, content, 0o600)
		}
		done <- err
	}()
	return done
}

// compared measures the service and then the bare loop.
func (b *bed) compared(ctx context.Context) error {
	var rates, ratios, times []float64
	var runs []string
	for i := range b.runs {
		ours, err := b.service(ctx, 1, b.most, b.length, func(p *configv1.SmtpProfile) { p.Connections = int32(b.connections) })
		if err != nil {
			return err
		}
		bare, err := b.bare(ctx)
		if err != nil {
			return err
		}
		rates, ratios, times = append(rates, ours.PerSecond), append(ratios, ours.PerSecond/bare.PerSecond), append(times, ours.Processor.Seconds()*1e6)
		runs = append(runs, fmt.Sprintf("%.0f/s, %s of processor time each; bare %.0f/s, %s each", ours.PerSecond, ours.Processor, bare.PerSecond, bare.Processor))
		fleet.Report("run %d: %s", i+1, runs[i])
	}
	note := fmt.Sprintf("one profile, %d connections that are kept, 600 bytes of text, no TLS, no DKIM; one process of the service; the bare loop builds and sends such messages with go-mail over as many kept connections, without NOOP, and does nothing else; the mail server is a process of its own on the same machine",
		b.connections)
	for _, f := range []figure.Figure{
		{Name: "email.messages_per_second", Value: figure.Round(figure.Median(rates)), Unit: "messages/s", Goal: 2000, Better: "higher"},
		{Name: "email.floor_ratio", Value: figure.Round(figure.Median(ratios)), Unit: "ratio", Goal: 0.7, Better: "higher"},
		{Name: "email.processor_us", Value: figure.Round(figure.Median(times)), Unit: "us/message", Better: "lower"},
	} {
		f.Note, f.Seconds, f.Runs = note, float64(b.runs)*b.length.Seconds(), runs
		if err := b.Print(f); err != nil {
			return err
		}
	}
	return nil
}

// keyBits is the size of most keys of DKIM.
const keyBits = 2048

// signed measures with signatures.
func (b *bed) signed(ctx context.Context) error {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	dkim := &configv1.Dkim{Domain: domain, Selector: "s1", Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
	out, err := b.service(ctx, 1, b.most, b.length, func(p *configv1.SmtpProfile) { p.Connections, p.Dkim = int32(b.connections), dkim })
	if err != nil {
		return err
	}
	return b.Print(figure.Figure{
		Name: "email.dkim_messages_per_second", Value: figure.Round(out.PerSecond), Unit: "messages/s", Better: "higher",
		Note:    fmt.Sprintf("no goal; as email.messages_per_second, each signed with RSA of %d bits; %s of processor time each", keyBits, out.Processor),
		Seconds: b.length.Seconds(),
	})
}

// grown measures with more and more profiles.
func (b *bed) grown(ctx context.Context) error {
	var faults []error
	for _, n := range []int{1, 10, 100} {
		out, err := b.service(ctx, n, b.most, b.length/2, func(p *configv1.SmtpProfile) { p.Connections = 8 })
		if err != nil {
			faults = append(faults, fmt.Errorf("%d profiles: %w", n, err))
			continue
		}
		faults = append(faults, b.Print(figure.Figure{
			Name: fmt.Sprintf("email.messages_per_second_%d_profiles", n), Value: figure.Round(out.PerSecond), Unit: "messages/s", Better: "higher",
			Note:    fmt.Sprintf("no goal; 8 connections a profile, the default; %s of processor time each", out.Processor),
			Seconds: (b.length / 2).Seconds(),
		}))
	}
	return errors.Join(faults...)
}
