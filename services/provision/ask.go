package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/services/provision/chain"
	"github.com/tollgate/tollgate/services/provision/reply"
	"github.com/tollgate/tollgate/services/provision/script"
)

// asker puts questions to handlers.
type asker struct {
	receiver.Client
	scripts script.Config
	clock   func() time.Time
	tracer  *trace.Tracer
}

// maxReply is how much of a reply is read; more is a fault.
const maxReply = 1 << 20

// question is what the handlers of one action are asked about.
type question struct {
	book  *book
	event *event.Event
	stage string
	// try counts the questions about one event afterwards.
	try int
	// traceparent is sent with the question; empty where no span is recorded.
	traceparent string
}

// id is that of the event, or of one that a producer named: its id is its own only beside its source.
func (q question) id() string {
	if q.stage == receiver.StageAfter {
		return hashOf("arrived", q.event.Tenant, q.event.Source, q.event.ID)
	}
	return q.event.ID
}

// about is how handlers are asked this question.
func (a *asker) about(q question) chain.Ask {
	return func(ctx context.Context, h *chain.Handler, data proto.Message) (reply.Reply, chain.Exchange, error) {
		if parent, ok := a.tracer.Parent(q.event.Trace); ok && q.stage != receiver.StageTest {
			return a.traced(ctx, q, parent, h, data)
		}
		return a.ask(ctx, q, h, data)
	}
}

func (a *asker) ask(ctx context.Context, q question, h *chain.Handler, data proto.Message) (reply.Reply, chain.Exchange, error) {
	of := q.book.handlers[h.Name]
	sent, err := receiver.Question(q.event.WithFields(data), q.stage)
	if err != nil {
		return reply.Reply{}, chain.Exchange{}, fmt.Errorf("write the question: %w", err)
	}
	exchange := chain.Exchange{Sent: sent}
	by := reply.Rules{MayChange: h.MayChange, Check: func(changed proto.Message) error {
		// What is decided must fit into an event: an action that is allowed and can't be published would stay so.
		if n := proto.Size(changed); n > maxData {
			return fmt.Errorf("it takes %d bytes, at most %d may be", n, maxData)
		}
		_, err := q.event.Declared.Rewritten(q.event, changed)
		return err
	}}
	switch {
	case of.broken != nil:
		return reply.Reply{}, exchange, of.broken
	case of.Script != nil:
		return a.script(ctx, of, data, by, exchange)
	case of.receiver != nil:
		return a.request(ctx, of, q, data, by, exchange)
	}
	return reply.Reply{}, exchange, errors.New("its kind of handler is not known to this version")
}

func (a *asker) script(ctx context.Context, of *handler, data proto.Message, by reply.Rules, x chain.Exchange) (reply.Reply, chain.Exchange, error) {
	out, err := script.Run(ctx, a.scripts, script.Program{Path: of.Script.Path, Args: of.Script.Arguments, SHA256: of.Script.SHA256}, x.Sent)
	x.Status, x.Received = out.Status, out.Stdout
	if err != nil {
		return reply.Reply{}, x, chain.Failure{Err: err}
	}
	r, err := reply.Script(out.Stdout, data, by)
	return r, x, err
}

func (a *asker) request(ctx context.Context, of *handler, q question, data proto.Message, by reply.Rules, x chain.Exchange) (reply.Reply, chain.Exchange, error) {
	// One question, however often it is sent: id of the event and of the handler.
	header := of.receiver.QuestionHeader(q.id()+"."+of.ID, a.clock(), x.Sent)
	if q.traceparent != "" {
		header.Set("Traceparent", q.traceparent)
	}
	answer := a.Do(ctx, of.receiver, outbound.Request{
		Method: of.HTTP.Method, Header: header, Body: x.Sent, KeepSuccess: maxReply + 1,
		Repeatable: true, // handlers know repeats by their id
	})
	x.Status, x.Received = answer.Status, of.receiver.HideBody(answer.Body, answer.Token)
	switch {
	case answer.Class == outbound.ClassLocal:
		return reply.Reply{}, x, chain.Ours{Err: fmt.Errorf("ask %s: %w", of.Name, answer.Err)}
	case answer.Class != outbound.ClassNone:
		return reply.Reply{}, x, chain.Failure{Err: errors.New(string(answer.Class) + ": " + of.receiver.Hide(answer.Err.Error(), answer.Token))}
	case answer.Status >= http.StatusInternalServerError || answer.Status == http.StatusTooManyRequests || answer.Status == http.StatusRequestTimeout:
		_, err := reply.HTTP(answer.Status, nil, data, by)
		return reply.Reply{}, x, chain.Failure{Err: err}
	case answer.Status/100 == 2 && answer.BodyTruncated:
		return reply.Reply{}, x, fmt.Errorf("the reply is larger than %d bytes, or broke off", maxReply)
	}
	r, err := reply.HTTP(answer.Status, answer.Body, data, by)
	r.Reason = of.receiver.Hide(r.Reason, answer.Token)
	if err != nil {
		err = errors.New(of.receiver.Hide(err.Error(), answer.Token)) // it quotes the reply
	}
	return r, x, err
}
