package trigger

import (
	"github.com/tollgate/tollgate/pkg/rules/kind"
)

// body is what a record has: a subject's its positions, a rule's its state.
type body struct {
	positions positions
	state     kind.State
	ofRule    bool
}

// ruleFormat is the first byte of a rule's state, whose encoding follows; that of positions is positionsFormat.
const ruleFormat = 3

func (b body) append(dst []byte) []byte {
	if !b.ofRule {
		return b.positions.append(dst)
	}
	return b.state.Append(append(dst, ruleFormat))
}

func decodeBody(raw []byte) (b body, err error) {
	if len(raw) > 0 && raw[0] == ruleFormat {
		b.ofRule = true
		b.state, err = kind.Decode(raw[1:])
		return b, err
	}
	b.positions, err = decodePositions(raw)
	return b, err
}
