package docs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
	"github.com/tollgate/tollgate/services/tollgate/cli"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

var (
	variable = regexp.MustCompile(`TOLLGATE_[A-Z0-9_]+`)
	flag     = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)
	metric   = regexp.MustCompile(`^tollgate_[a-z<>_]+$`)
	dotted   = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)
	upper    = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
)

// spans are the code spans of the pages that are written by hand, each with the page it stands on.
func spans(t *testing.T, each func(page, text string)) {
	t.Helper()
	for _, p := range pages(t) {
		// The changelog names what was there before.
		if p.path == "CHANGELOG.md" || strings.HasPrefix(p.path, reference.Dir) {
			continue
		}
		for _, m := range span.FindAllStringSubmatch(p.prose, -1) {
			each(p.path, m[1])
		}
	}
}

func TestNames_VariablesExist(t *testing.T) {
	known := map[string]bool{}
	for _, v := range daemon.Variables() {
		known[v] = true
	}
	for _, path := range []string{"Makefile", "deploy/servers/servers"} { // those of tests
		for _, v := range variable.FindAllString(read(t, path), -1) {
			known[v] = true
		}
	}
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" {
			continue
		}
		text := p.prose
		for _, b := range p.blocks {
			text += b.text
		}
		for _, v := range variable.FindAllString(text, -1) {
			if !known[v] {
				t.Errorf("%s names the variable %s, which no process reads", p.path, v)
			}
		}
	}
	for _, v := range daemon.Variables() {
		if page := read(t, "deploy/docs/reference/configuration.md") + read(t, "deploy/docs/reference/command-line.md"); !strings.Contains(page, "`"+v+"`") &&
			v != "TOLLGATE_REAL" && !strings.HasSuffix(v, "_ADDR") { // of tests; of services to come
			t.Errorf("the variable %s is missing in the reference", v)
		}
	}
}

func TestNames_CommandsAndFlagsExist(t *testing.T) {
	model, err := cli.Model()
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{"--help": true}
	commands := map[string]bool{} // whether it runs, by its words
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		commands[n.FullPath()] = len(n.Children) == 0
		for _, f := range n.Flags {
			flags["--"+f.Name] = true
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(model.Node)
	spans(t, func(page, text string) {
		words := strings.Fields(text)
		if words[0] == "tollgate" && len(words) > 1 && !isCommand(commands, words) {
			t.Errorf("%s names %q, which is no command", page, text)
		}
		if words[0] != "tollgate" && !strings.HasPrefix(text, "--") {
			return
		}
		for _, w := range words {
			if f := flag.FindString(w); f != "" && !flags[f] {
				t.Errorf("%s names the flag %s, which no command has", page, f)
			}
		}
	})
}

// isCommand reports whether the words begin with a command. Words behind a command that runs are its arguments; behind a
// group of commands only flags follow.
func isCommand(commands map[string]bool, words []string) bool {
	for n := 2; n <= len(words); n++ {
		if _, ok := commands[strings.Join(words[:n], " ")]; !ok {
			runs := commands[strings.Join(words[:n-1], " ")]
			return runs || strings.HasPrefix(words[n-1], "-")
		}
	}
	return true
}

func TestNames_MetricsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range span.FindAllStringSubmatch(read(t, reference.Dir+"/metrics.md"), -1) {
		known[m[1]] = true
	}
	spans(t, func(page, text string) {
		if !metric.MatchString(text) {
			return
		}
		if known[text] {
			return
		}
		for _, s := range process.Table {
			if known[strings.Replace(text, "tollgate_"+s.Name+"_", "tollgate_<service>_", 1)] ||
				known[strings.Replace(text, "tollgate_<service>_", "tollgate_"+s.Name+"_", 1)] {
				return
			}
		}
		t.Errorf("%s names the metric %s, which no service has", page, text)
	})
}

// Names of others that look like ours.
var ofOthers = []string{"transaction.max.timeout.ms", "offsets.retention.minutes", "broker.session.timeout.ms", "data.class_of_service"}

// ofProfile begins the types of a payload profile of another system; golden files hold them.
const ofProfile = "clients."

func TestNames_KeysTypesTopicsAndFieldsExist(t *testing.T) {
	known := map[string]bool{}
	for _, s := range process.Table {
		keys, err := reference.Keys(root, s.Values())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			known[k.Path] = true
		}
	}
	for _, e := range event.Types() {
		known[e.Name] = true
	}
	for _, name := range []string{audit.TypeChange, audit.TypeRefusals, audit.TypeGap} {
		known[name] = true
	}
	for _, spec := range table.Topics(1) {
		known[spec.Name] = true
		for name := range spec.Config {
			known[name] = true
		}
	}
	fields(known)
	spans(t, func(page, text string) {
		text, _, _ = strings.Cut(text, ":") // a key with its value
		if !dotted.MatchString(text) || slices.Contains(ofOthers, text) || strings.HasPrefix(text, ofProfile) || known[text] {
			return
		}
		words := strings.Split(text, ".")
		if last := strings.Join(words[len(words)-2:], "."); known[last] {
			return
		}
		if _, err := os.Stat(filepath.Join(root, "deploy", "docs", text)); err == nil || strings.HasSuffix(text, ".go") || strings.HasSuffix(text, ".yaml") {
			return
		}
		t.Errorf("%s names %s, which is no key, event type, topic or field", page, text)
	})
}

// fields adds each field of a field that is a message, as "corrects.amount", and each message, as "v1.Delivery".
func fields(known map[string]bool) {
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		d := m.Descriptor()
		if !strings.HasPrefix(string(d.FullName()), "tollgate.") {
			return true
		}
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			known[strings.ToLower(string(d.Name()))+"."+string(f.Name())] = true
			if f.Message() == nil {
				continue
			}
			for j := range f.Message().Fields().Len() {
				known[string(f.Name())+"."+string(f.Message().Fields().Get(j).Name())] = true
			}
		}
		return true
	})
	// As filters and scopes name usage.
	for i := range usage().Fields().Len() {
		known["usage."+string(usage().Fields().Get(i).Name())] = true
	}
}

func usage() protoreflect.MessageDescriptor {
	t, ok := event.Lookup("usage.charged")
	if !ok {
		panic("usage.charged is no type")
	}
	return t.Data.ProtoReflect().Descriptor()
}

func TestNames_ReasonsAndValuesExist(t *testing.T) {
	known := map[string]bool{}
	protoregistry.GlobalTypes.RangeEnums(func(e protoreflect.EnumType) bool {
		for i := range e.Descriptor().Values().Len() {
			known[string(e.Descriptor().Values().Get(i).Name())] = true
		}
		return true
	})
	short := map[string]bool{}
	for _, name := range slices.Collect(maps.Keys(known)) { // REASON_FAN_OUT is FAN_OUT on decisions
		short[strings.TrimPrefix(name, "REASON_")] = true
	}
	spans(t, func(page, text string) {
		if upper.MatchString(text) && !known[text] && !short[text] && !reason.Declared(text) && !strings.HasPrefix(text, "TOLLGATE_") {
			t.Errorf("%s names %s, which is no reason and no value of an enum", page, text)
		}
	})
}

// repositoryPath is a path of the repository; one with a placeholder names a file to come.
var repositoryPath = regexp.MustCompile(`^(\.ci|\.github|deploy|pkg|proto|services)/[A-Za-z0-9_./-]+$`)

func TestNames_PathsExist(t *testing.T) {
	spans(t, func(page, text string) {
		if !repositoryPath.MatchString(text) {
			return
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(text))); err != nil {
			t.Errorf("%s names %s, which is not there", page, text)
		}
	})
}

func TestNames_EveryKindOfErrorIsExplained(t *testing.T) {
	text := read(t, "deploy/docs/errors.md")
	for _, kind := range kinds() {
		if !strings.Contains(text, "\n| "+kind.String()+" | "+code(kind)+" |") {
			t.Errorf("errors.md lacks the kind %s with the gRPC code %s", kind, code(kind))
		}
	}
}
