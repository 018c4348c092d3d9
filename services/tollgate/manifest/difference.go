package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/display"
)

// server are the fields that only the server writes. Documents do not have them.
var server = []protoreflect.Name{"metadata", "version", "activation", "health", "caller", "secret", "secret_hash"}

// derived are those that follow from the others. They are shown, and documents that have them are read.
var derived = []protoreflect.Name{"entity", "reserved", "tokens", "example", "data_message"}

// difference is the lines of YAML that only one of the two has, in order, with one line around each group. What only the
// server writes is left out.
func difference(before, after Resource) (string, error) {
	a, err := lines(before)
	if err != nil {
		return "", err
	}
	b, err := lines(after)
	if err != nil {
		return "", err
	}
	return unified(a, b), nil
}

func lines(r Resource) ([]string, error) { return without(r, append(slices.Clip(server), derived...)) }

// without is the YAML of a resource without some of its fields.
func without(r Resource, fields []protoreflect.Name) ([]string, error) {
	c := proto.Clone(r)
	m := c.ProtoReflect()
	for _, name := range fields {
		if f := m.Descriptor().Fields().ByName(name); f != nil {
			m.Clear(f)
		}
	}
	if proto.Size(c) == 0 {
		return nil, nil
	}
	text, err := protoyaml.MarshalOptions{Indent: 2, UseProtoNames: true}.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write %s as YAML: %w", r.GetName(), err)
	}
	if text, err = quoted(text); err != nil {
		return nil, fmt.Errorf("write %s as YAML: %w", r.GetName(), err)
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n"), nil
}

// quoted puts what a terminal obeys into double quotes, in which it can be escaped and is read again as it was.
func quoted(text []byte) ([]byte, error) {
	if display.Shown(strings.ReplaceAll(string(text), "\n", "")) {
		return text, nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	quote(&document)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	err := e.Encode(&document)
	return out.Bytes(), errors.Join(err, e.Close())
}

func quote(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && !display.Shown(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		quote(c)
	}
}

// masked hides secrets as the service does where it shows them.
func masked(r Resource) Resource {
	k := table.Channels.KindOf(r)
	if k == nil {
		return r
	}
	c := proto.Clone(r).(Resource)
	k.Mask(c)
	return c
}

// unified compares by the longest common subsequence; resources have tens of lines, a certificate some hundred.
func unified(a, b []string) string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	type line struct {
		mark byte
		text string
	}
	var all []line
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, line{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			all = append(all, line{'-', a[i]})
			i++
		default:
			all = append(all, line{'+', b[j]})
			j++
		}
	}
	var out strings.Builder
	for k, l := range all {
		near := l.mark != ' ' || k > 0 && all[k-1].mark != ' ' || k+1 < len(all) && all[k+1].mark != ' '
		if near {
			fmt.Fprintf(&out, "%c %s\n", l.mark, l.text)
		}
	}
	return out.String()
}
