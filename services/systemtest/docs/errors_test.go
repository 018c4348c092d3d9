package docs

import (
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
)

// kinds are all kinds of fault.
func kinds() []fault.Kind {
	var all []fault.Kind
	for k := fault.Kind(0); !strings.HasPrefix(k.String(), "kind "); k++ {
		all = append(all, k)
	}
	return all
}

// code is the name of a kind's gRPC code, as the protocol writes it.
func code(k fault.Kind) string {
	var b strings.Builder
	for i, r := range fault.New(k, "R", "text").GRPCStatus().Code().String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
