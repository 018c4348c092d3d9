package config

import (
	"maps"
	"regexp"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/services/config/query"
)

var (
	labelKey   = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// validateLabels adds what is wrong with the labels of a resource.
func validateLabels(f *fault.Violations, r resource) {
	m := r.ProtoReflect()
	labels := map[string]string{}
	m.Get(m.Descriptor().Fields().ByName(query.Labels)).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		labels[k.String()] = v.String()
		return true
	})
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if f.Full() {
			return
		}
		if !labelKey.MatchString(key) {
			f.Add(query.Labels, `key %q must be 1 to 63 of a-z, 0-9, ".", "_", "/" and "-", the first and the last a letter or a digit`, cut(key))
		}
		if !labelValue.MatchString(labels[key]) {
			f.Add(query.Labels, `value %q of %s must be at most 63 letters, digits, ".", "_" and "-", the first and the last a letter or a digit`, cut(labels[key]), cut(key))
		}
	}
}
