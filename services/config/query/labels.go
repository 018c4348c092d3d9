package query

import (
	"maps"
	"regexp"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
)

var (
	labelKey   = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// CheckLabels adds what is wrong with the labels of a resource.
func CheckLabels(f *fault.Violations, m protoreflect.Message) {
	labels := map[string]string{}
	m.Get(m.Descriptor().Fields().ByName(Labels)).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		labels[k.String()] = v.String()
		return true
	})
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if f.Full() {
			return
		}
		if !labelKey.MatchString(key) {
			f.Add(Labels, `key %.100q must be 1 to 63 of a-z, 0-9, ".", "_", "/" and "-", the first and the last a letter or a digit`, key)
		}
		if !labelValue.MatchString(labels[key]) {
			f.Add(Labels, `value %.100q of %.100s must be at most 63 letters, digits, ".", "_" and "-", the first and the last a letter or a digit`, labels[key], key)
		}
	}
}
