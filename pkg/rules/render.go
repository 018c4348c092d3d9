package rules

import (
	"fmt"
	"strings"
	"text/template"

	"github.com/tollgate/tollgate/pkg/channel"
)

// Cost is what Render takes, in the units of pkg/expr.
func (p *Plan) Cost(o *Occasion, to channel.Planning) uint64 {
	const body = 100
	if !to.Texts || len(p.parameters) == 0 {
		return body
	}
	o.values(to.Audience)
	return uint64(body + p.cost.once + min(o.longest, maxListed)*p.cost.each)
}

// Recipients are those of an action for one occasion.
func (r *Rule) Recipients(p *Plan, o *Occasion) []channel.Recipient {
	return p.part.Recipients(acting{o, r, p})
}

// Render makes the message of one action for one occasion and recipient. It fails with channel.ErrTooLarge, or where a
// text can't be rendered, which Compile has ruled out for events of the catalog.
func (r *Rule) Render(p *Plan, o *Occasion, to channel.Planning, recipient channel.Recipient, at channel.Position) (channel.Message, error) {
	m, err := p.part.Render(acting{o, r, p}, to, recipient, at)
	if err != nil {
		return channel.Message{}, fmt.Errorf("render action %q of notification %q: %w", p.Name, r.Code, err)
	}
	if len(m.Body) > channel.MaxBody {
		return channel.Message{}, fmt.Errorf("render action %q of notification %q: %w: it takes %d bytes", p.Name, r.Code, channel.ErrTooLarge, len(m.Body))
	}
	return m, nil
}

// execute renders one text.
func execute(t *template.Template, values map[string]any) (string, error) {
	if t == nil || t.Tree == nil {
		return "", nil
	}
	var out bounded
	if err := t.Execute(&out, values); err != nil {
		return "", err //nolint:wrapcheck // the caller names the parameter
	}
	return out.String(), nil
}

// bounded is a builder that refuses to grow past channel.MaxBody.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > channel.MaxBody {
		return 0, channel.ErrTooLarge
	}
	return b.Builder.Write(p)
}
