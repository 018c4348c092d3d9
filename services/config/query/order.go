package query

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
)

const (
	// DefaultPage and LargestPage are how many resources a page has.
	DefaultPage = 100
	LargestPage = 1000
	// scanned is how many resources are read at once where a filter leaves some out, and mostScanned for one page: a page may
	// have fewer than asked for, and only the last has no token.
	scanned     = 1000
	mostScanned = 20_000
	// mostSorted is how many may be put in order.
	mostSorted = 20_000
)

// Source gives resources as they are shown, in the order of their names, those behind one, at most n.
type Source func(ctx context.Context, after string, n int) ([]channel.Resource, error)

// Page answers the resources of a source that the query is of, and the token of the next page.
func (q *Query) Page(ctx context.Context, from Source) (page []channel.Resource, next string, err error) {
	if len(q.order) > 0 {
		return q.sorted(ctx, from, q.limit)
	}
	return q.page(ctx, from, q.limit)
}

// page answers those that match, in the order of names, at most limit, and the token of the next page.
func (q *Query) page(ctx context.Context, from Source, limit int) (out []channel.Resource, next string, err error) {
	after := q.after.Name
	for looked := 0; ; {
		n := limit + 1
		if len(q.terms) > 0 {
			n = scanned
		}
		found, err := from(ctx, after, n)
		if err != nil {
			return nil, "", err
		}
		for _, one := range found {
			if !q.matches(one) {
				continue
			}
			if len(out) == limit {
				return out, q.next(out[limit-1].GetName(), nil), nil
			}
			out = append(out, one)
		}
		if len(found) < n {
			return out, "", nil
		}
		after = found[n-1].GetName()
		if looked += n; looked >= mostScanned {
			return out, q.next(after, nil), nil
		}
	}
}

// sorted answers those that match, in an order, at most limit, and the token of the next page. All are read for it.
func (q *Query) sorted(ctx context.Context, from Source, limit int) (out []channel.Resource, next string, err error) {
	var all []positioned
	for after := ""; ; {
		found, err := from(ctx, after, scanned)
		if err != nil {
			return nil, "", err
		}
		for _, one := range found {
			if q.matches(one) {
				all = append(all, positioned{one, q.valuesOf(one)})
			}
		}
		if len(all) > mostSorted {
			return nil, "", fault.New(fault.Invalid, "LIST_TOO_LONG", "more than %d match, too many to be put in order: name a tenant, filter, or list by name", mostSorted)
		}
		if len(found) < scanned {
			break
		}
		after = found[scanned-1].GetName()
	}
	slices.SortFunc(all, func(a, b positioned) int { return q.compare(a.values, a.GetName(), b.values, b.GetName()) })
	for _, one := range all {
		if q.after.Name != "" && q.compare(one.values, one.GetName(), q.after.Values, q.after.Name) <= 0 {
			continue
		}
		if len(out) == limit {
			return out, next, nil
		}
		out, next = append(out, one.Resource), q.next(one.GetName(), one.values)
	}
	return out, "", nil
}

// positioned is a resource with the values that it is ordered by.
type positioned struct {
	channel.Resource
	values []string
}

// valuesOf are the values of the order's fields as texts, of which those of numbers are decimals.
func (q *Query) valuesOf(r channel.Resource) []string {
	values := make([]string, len(q.order))
	for i, o := range q.order {
		values[i] = sortText(o.path[len(o.path)-1], valueAt(r, o.path))
	}
	return values
}

func sortText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.StringKind:
		return v.String()
	case protoreflect.BoolKind:
		if v.Bool() {
			return "1"
		}
		return "0"
	case protoreflect.EnumKind:
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.MessageKind:
		switch m := v.Message().Interface().(type) {
		case *timestamppb.Timestamp:
			return strconv.FormatInt(m.GetSeconds()*1e9+int64(m.GetNanos()), 10)
		case *durationpb.Duration:
			return strconv.FormatInt(m.GetSeconds()*1e9+int64(m.GetNanos()), 10)
		}
	}
	return strconv.FormatInt(v.Int(), 10)
}

// isTime reports whether a field is an instant or a span of time.
func isTime(f protoreflect.FieldDescriptor) bool {
	if f.Message() == nil {
		return false
	}
	switch f.Message().FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		return true
	}
	return false
}

// compare compares two by the order, at last by their names.
func (q *Query) compare(a []string, nameA string, b []string, nameB string) int {
	for i, o := range q.order {
		c := compareTexts(o.path[len(o.path)-1], a[i], b[i])
		if o.descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(nameA, nameB)
}

// compareTexts compares what sortText wrote. What is no number in a token that somebody made up is 0.
func compareTexts(f protoreflect.FieldDescriptor, a, b string) int {
	if f.Kind() == protoreflect.StringKind {
		return cmp.Compare(a, b)
	}
	x, _ := strconv.ParseInt(a, 10, 64)
	y, _ := strconv.ParseInt(b, 10, 64)
	return cmp.Compare(x, y)
}
