package rules

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// MaxBody is the largest body that is planned, in bytes.
const MaxBody = 256 << 10

// ErrTooLarge says that a body would be larger than MaxBody.
var ErrTooLarge = errors.New("the body is larger than 256 KiB")

// Endpoint is what planning must know of a webhook's recipient. The rest is read when the delivery is sent.
type Endpoint struct {
	Profile Profile
	// PersonalData lets fields marked as personal leave.
	PersonalData bool
}

// Lane is the place of a delivery in the order of its endpoint, topic and subject; zero where there is no order.
type Lane struct {
	// Sequence counts from 1.
	Sequence int64
	// Previous is the id of the delivery before; empty for the first.
	Previous string
}

// Body is what a delivery carries: the same bytes at every attempt.
type Body struct {
	ContentType string
	Bytes       []byte
}

// Cost is what Render takes, in the units of pkg/expr.
func (p *Plan) Cost(o *Occasion, to Endpoint) uint64 {
	const body = 100
	if to.Profile != Parameters {
		return body
	}
	o.values(to.PersonalData)
	return uint64(body + p.cost.once + min(o.longest, maxListed)*p.cost.each)
}

// Render makes the body of one action for one occasion. It fails with ErrTooLarge, or where a text can't be rendered,
// which Compile has ruled out for events of the catalog.
func (r *Rule) Render(p *Plan, o *Occasion, to Endpoint, at Lane) (Body, error) {
	var b Body
	var err error
	switch to.Profile {
	case Parameters:
		b, err = p.parametersBody(o, to)
	default:
		b, err = r.cloudEventBody(o, to, at)
	}
	if err != nil {
		return Body{}, fmt.Errorf("render action %q of notification %q: %w", p.Name, r.Code, err)
	}
	if len(b.Bytes) > MaxBody {
		return Body{}, fmt.Errorf("render action %q of notification %q: %w: it takes %d bytes", p.Name, r.Code, ErrTooLarge, len(b.Bytes))
	}
	return b, nil
}

// execute renders one text.
func execute(t *template.Template, values map[string]any) (string, error) {
	if t == nil || t.Tree == nil {
		return "", nil
	}
	var out bounded
	if err := t.Execute(&out, values); err != nil {
		return "", err //nolint:wrapcheck // the caller says which parameter it was
	}
	return out.String(), nil
}

// bounded is a builder that refuses to grow past MaxBody.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxBody {
		return 0, ErrTooLarge
	}
	return b.Builder.Write(p)
}
