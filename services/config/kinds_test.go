package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
)

// Every field whose name is that of a secret is one, in every form of every kind: it is encrypted, and masked.
func TestKinds_EncryptAndMaskEveryFieldThatIsASecret(t *testing.T) {
	t.Parallel()
	keyset := secrettest.Open(t, secrettest.File(t))
	named := regexp.MustCompile(`(^|\.)(password|token|secrets\[0\]|client_secret|private_key|key|value)$`)
	for _, k := range table.Kinds() {
		for form := range 6 {
			r := k.New()
			channeltest.Fill(r.ProtoReflect())
			choose(r.ProtoReflect(), form)
			var want, got []string
			for path := range texts("", r.ProtoReflect()) {
				if named.MatchString(path) {
					want = append(want, path)
				}
			}
			if _, err := k.Encrypt(r, keyset); err != nil {
				t.Fatal(err)
			}
			got = k.Encrypted(r)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("form %d of %s encrypts %q, and has %q", form, k.Name, got, want)
			}
			k.Mask(r)
			all := texts("", r.ProtoReflect())
			for _, path := range want {
				if !strings.Contains(all[path], "****") {
					t.Errorf("form %d of %s shows %s as %q", form, k.Name, path, all[path])
				}
			}
		}
	}
}

// choose sets another field of each oneof, and what lies in it.
func choose(m protoreflect.Message, form int) {
	for i := range m.Descriptor().Oneofs().Len() {
		of := m.Descriptor().Oneofs().Get(i).Fields()
		if f := of.Get(form % of.Len()); f.Message() != nil {
			channeltest.Fill(m.Mutable(f).Message())
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() {
			choose(v.Message(), form)
		}
		return true
	})
}

// texts are the texts in a message by their paths.
func texts(path string, m protoreflect.Message) map[string]string {
	all := map[string]string{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + string(f.Name())
		switch {
		case f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				at := fmt.Sprintf("%s[%d]", at, i)
				if f.Message() != nil {
					maps.Copy(all, texts(at+".", v.List().Get(i).Message()))
				} else {
					all[at] = v.List().Get(i).String()
				}
			}
		case f.Message() != nil:
			maps.Copy(all, texts(at+".", v.Message()))
		case f.Kind() == protoreflect.StringKind:
			all[at] = v.String()
		}
		return true
	})
	return all
}
