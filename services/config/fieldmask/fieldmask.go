// Package fieldmask reads the masks of updates (AIP-134).
package fieldmask

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Kept are the fields that only the server writes, or that name the resource; in a mask they mean nothing.
var Kept = map[protoreflect.Name]bool{
	"name": true, "metadata": true, "version": true, "activation": true, "health": true,
	"caller": true, "secret": true, "secret_hash": true,
	"entity": true, "reserved": true, "tokens": true, "example": true, "data_message": true,
}

// maxPaths bounds a mask; no resource has as many fields.
const maxPaths = 100

// Check lists the paths that lead nowhere in a message; label names it in sentences.
func Check(message protoreflect.MessageDescriptor, label string, mask *fieldmaskpb.FieldMask) error {
	var f fault.Violations
	if n := len(mask.GetPaths()); n > maxPaths {
		f.Add("update_mask", "must have at most %d paths, has %d", maxPaths, n)
		return f.Err("UPDATE_MASK_INVALID")
	}
	for _, path := range mask.GetPaths() {
		if path == "*" {
			continue
		}
		if !leads(message, strings.Split(path, ".")) {
			f.Add("update_mask", "%.100q is not a field of a %s", path, label)
		}
	}
	return f.Err("UPDATE_MASK_INVALID")
}

func leads(message protoreflect.MessageDescriptor, path []string) bool {
	field := message.Fields().ByName(protoreflect.Name(path[0]))
	if field == nil {
		return false
	}
	if len(path) == 1 {
		return true
	}
	// A path ends at a list or map: it is not known which element is meant.
	return field.Message() != nil && field.Cardinality() != protoreflect.Repeated && leads(field.Message(), path[1:])
}

// Merge takes from given what the mask names, everything writable where it is empty or "*", and keeps the rest of
// stored.
func Merge[M proto.Message](stored, given M, mask *fieldmaskpb.FieldMask) M {
	out, from := proto.CloneOf(stored), proto.CloneOf(given).ProtoReflect()
	into := out.ProtoReflect()
	paths := mask.GetPaths()
	if len(paths) == 0 {
		paths = []string{"*"}
	}
	for _, path := range paths {
		if path == "*" {
			fields := into.Descriptor().Fields()
			for i := range fields.Len() {
				if field := fields.Get(i); !Kept[field.Name()] {
					take(into, from, field)
				}
			}
			continue
		}
		names := strings.Split(path, ".")
		if !Kept[protoreflect.Name(names[0])] {
			takePath(into, from, names)
		}
	}
	return out
}

func takePath(into, from protoreflect.Message, path []string) {
	field := into.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	if len(path) == 1 {
		take(into, from, field)
		return
	}
	if !from.Has(field) && !into.Has(field) {
		return
	}
	takePath(into.Mutable(field).Message(), from.Get(field).Message(), path[1:])
}

// take sets a field to what from has, or clears it.
func take(into, from protoreflect.Message, field protoreflect.FieldDescriptor) {
	if from.Has(field) {
		into.Set(field, from.Get(field))
		return
	}
	into.Clear(field)
}

// Names reports whether the mask has a field itself, and not only with all others.
func Names(mask *fieldmaskpb.FieldMask, field string) bool {
	return slices.Contains(mask.GetPaths(), field)
}
