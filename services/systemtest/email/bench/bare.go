package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/tollgate/tollgate/services/systemtest/bench"
)

// bare measures the bare loop: on each connection a goroutine that builds a message and sends it, and does nothing else. It
// keeps no queue, records nothing, and repeats nothing.
func (b *bed) bare(ctx context.Context) (bench.Measured, error) {
	before, err := b.receiver.count()
	if err != nil {
		return bench.Measured{}, err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	faults := make([]error, b.connections)
	var work sync.WaitGroup
	for i := range b.connections {
		work.Go(func() { faults[i] = b.loop(running, i) })
	}
	// No end of its own: it is watched for as long as the service was.
	run := bench.Run{Count: b.receiver.count, WarmUp: b.warmUp, Length: b.length, Total: 1 << 30, Processor: bench.Own}
	out, err := run.Watch(ctx, before)
	cancel()
	work.Wait()
	return out, errors.Join(err, errors.Join(faults...))
}

// loop sends over one connection until ctx ends.
func (b *bed) loop(ctx context.Context, connection int) error {
	client, err := mail.NewClient("127.0.0.1", mail.WithPort(b.receiver.Mail), mail.WithTLSPolicy(mail.NoTLS), mail.WithoutNoop(), mail.WithoutRset(), mail.WithHELO("localhost"))
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return err
	}
	for n := 0; ctx.Err() == nil; n++ {
		m, err := build(connection, n)
		if err != nil {
			return err
		}
		if err := client.Send(m); err != nil {
			return fmt.Errorf("bare loop: %w", err)
		}
	}
	return client.Close()
}

// build makes a message with the headers and the text of those that the service sends.
func build(connection, n int) (*mail.Msg, error) {
	planned := message("user-", n, time.Now())
	m := mail.NewMsg(mail.WithNoDefaultUserAgent(), mail.WithCharset(mail.CharsetUTF8), mail.WithEncoding(mail.EncodingQP))
	if err := errors.Join(m.FromFormat("Operator", "billing@"+domain), m.AddToFormat(planned.To.Name, planned.To.Local+"@"+planned.To.Domain)); err != nil {
		return nil, err
	}
	m.Subject(planned.Subject)
	m.SetDate()
	m.SetGenHeader(mail.HeaderMessageID, fmt.Sprintf("<bare-%d-%d-%d@%s>", connection, n, time.Now().UnixNano(), domain))
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(mail.TypeTextPlain, planned.Text)
	return m, nil
}
