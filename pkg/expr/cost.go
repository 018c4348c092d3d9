package expr

import (
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"google.golang.org/protobuf/proto"
)

// sizes gives CEL's estimate the sizes of an event's fields.
type sizes struct {
	text uint64
	list uint64 // 0: as many as there may be
}

var (
	ordinary = sizes{text: ordinaryString, list: ordinaryList}
	largest  = sizes{text: maxString}
)

// EstimateSize implements cost.Estimator.
func (s sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if len(n.Path()) == 0 || n.Type() == nil {
		return nil
	}
	most := uint64(0)
	switch n.Type().Kind() {
	case types.StringKind, types.BytesKind:
		most = s.text
	case types.ListKind, types.MapKind:
		most = s.list
	case types.DynKind: // a text or a list of a custom field
		most = min(s.text, s.list*10)
	}
	if most == 0 {
		return nil
	}
	size := cost.RangedSizeEstimate(0, most)
	return &size
}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// zoned is what a function with a time zone costs: the zone is looked up at each call.
const zoned = 1000

// models are functions for which CEL counts one step although their cost grows with their arguments.
func models() []cost.OverloadModel {
	var out []cost.OverloadModel
	for _, id := range []string{overloads.SizeString, overloads.SizeBytes} {
		out = append(out, cost.Overload(id, cost.EvalCost(cost.Scale(cost.Arg(0), 0.1))))
	}
	for _, id := range []string{overloads.SizeStringInst, overloads.SizeBytesInst} {
		out = append(out, cost.MemberOverload(id, cost.EvalCost(cost.Scale(cost.Target(), 0.1))))
	}
	for _, id := range []string{
		overloads.StringToBool, overloads.StringToInt, overloads.StringToUint, overloads.StringToDouble,
		overloads.StringToTimestamp, overloads.StringToDuration,
	} {
		out = append(out, cost.Overload(id, cost.EvalCost(cost.Sum(cost.Const(1), cost.Scale(cost.Arg(0), 0.1)))))
	}
	for id, size := range map[string]uint64{
		overloads.BoolToString: 5, overloads.IntToString: 20, overloads.UintToString: 20, overloads.DoubleToString: 330,
		overloads.TimestampToString: 40, overloads.DurationToString: 40,
	} {
		out = append(out, cost.Overload(id, cost.EvalCost(cost.Const(2)), cost.ResultSize(cost.Const(size))))
	}
	for _, id := range []string{
		overloads.TimestampToYearWithTz, overloads.TimestampToMonthWithTz, overloads.TimestampToDayOfYearWithTz,
		overloads.TimestampToDayOfMonthZeroBasedWithTz, overloads.TimestampToDayOfMonthOneBasedWithTz, overloads.TimestampToDayOfWeekWithTz,
		overloads.TimestampToHoursWithTz, overloads.TimestampToMinutesWithTz, overloads.TimestampToSecondsWithTz, overloads.TimestampToMillisecondsWithTz,
	} {
		out = append(out, cost.MemberOverload(id, cost.EvalCost(cost.Sum(cost.Const(zoned), cost.Scale(cost.Arg(0), 0.1)))))
	}
	for _, id := range []string{overloads.Equals, overloads.NotEquals, overloads.InList} {
		out = append(out, cost.Overload(id, cost.ManualCost(estimateComparison, trackComparison)))
	}
	return append(out,
		cost.Overload(overloads.Matches, cost.ManualCost(estimateMatch, trackedByProgram)),
		cost.MemberOverload(overloads.MatchesString, cost.ManualCost(estimateMatch, trackedByProgram)),
	)
}

// estimateComparison: two values that are not scalar are compared whole, however deep. All others follow CEL.
func estimateComparison(e cost.Estimator, _ *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if len(args) != 2 || single(args[0].Type()) || single(args[1].Type()) {
		return nil
	}
	most := uint64(ordinaryString)
	if s, ok := e.(sizes); ok {
		most = s.text
	}
	return cost.NewCallEstimate(cost.RangedCostEstimate(1, most/10), nil)
}

// single reports that comparing a value of a type, or the elements of a list of it, is one step or that of a text.
func single(t *types.Type) bool {
	for t != nil && t.Kind() == types.ListKind && len(t.Parameters()) == 1 {
		t = t.Parameters()[0]
	}
	if t == nil {
		return false
	}
	switch t.Kind() {
	case types.StructKind, types.MapKind, types.DynKind, types.AnyKind, types.ListKind, types.TypeParamKind:
		return false
	}
	return true
}

func trackComparison(args []ref.Val, _ ref.Val) *uint64 {
	if len(args) != 2 || !deep(args[0]) && !deep(args[1]) {
		return nil
	}
	units := cost.SafeAdd(1, min(weight(args[0]), weight(args[1])))
	if _, list := args[1].(traits.Lister); list && !deep(args[0]) {
		units = cost.SafeAdd(1, weight(args[1])) // in: each element is looked at
	}
	return &units
}

func deep(v ref.Val) bool {
	switch v.(type) {
	case traits.Lister, traits.Mapper:
		return true
	}
	_, message := v.Value().(proto.Message)
	return message
}

// weight is a value's size in units: ten bytes or one element.
func weight(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v)) / 10
	case types.Bytes:
		return uint64(len(v)) / 10
	}
	if m, ok := v.Value().(proto.Message); ok {
		return uint64(proto.Size(m))/10 + 1
	}
	sum := uint64(1)
	switch v := v.(type) {
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			sum = cost.SafeAdd(sum, weight(key), weight(v.Get(key)))
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			sum = cost.SafeAdd(sum, weight(it.Next()))
		}
	}
	return sum
}
