package tollgate

import (
	"bufio"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// Generated Go code has no comments in its descriptors; the files as they are written have.
var (
	protoPackage = regexp.MustCompile(`^package ([\w.]+);`)
	protoScope   = regexp.MustCompile(`^(message|enum|service|oneof) (\w+) \{`)
	protoMethod  = regexp.MustCompile(`^rpc (\w+)\(`)
	protoField   = regexp.MustCompile(`^(?:(?:repeated|optional) )?(?:map<[^>]+>|[\w.]+) (\w+) = \d+`)
	protoValue   = regexp.MustCompile(`^([A-Z][A-Z0-9_]*) = -?\d+`)
)

// Comments are the comments before the declarations of all .proto files, by full name. A value of an enum stands under the
// enum's name.
func Comments() (map[string]string, error) {
	comments := map[string]string{}
	err := fs.WalkDir(Sources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := Sources.ReadFile(path)
		if err != nil {
			return err
		}
		readComments(string(text), comments)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read .proto files: %w", err)
	}
	return comments, nil
}

// readComments reads one file that is formatted as buf formats it: a declaration a line, its comment right before it.
func readComments(text string, comments map[string]string) {
	var scopes []string // full names; the fields of a oneof belong to its message
	var comment []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if text, ok := strings.CutPrefix(line, "//"); ok {
			comment = append(comment, strings.TrimSpace(text))
			continue
		}
		name := ""
		if m := protoPackage.FindStringSubmatch(line); m != nil {
			scopes = []string{m[1]}
		} else if m := protoScope.FindStringSubmatch(line); m != nil {
			name = scopes[len(scopes)-1] + "." + m[2]
			inner := name
			if m[1] == "oneof" {
				inner = scopes[len(scopes)-1]
			}
			scopes = append(scopes, inner)
			if strings.HasSuffix(line, "}") {
				scopes = scopes[:len(scopes)-1]
			}
		} else {
			for _, declaration := range []*regexp.Regexp{protoMethod, protoValue, protoField} {
				if m := declaration.FindStringSubmatch(line); m != nil && len(scopes) > 0 {
					name = scopes[len(scopes)-1] + "." + m[1]
					break
				}
			}
			for range strings.Count(line, "{") {
				scopes = append(scopes, scopes[len(scopes)-1])
			}
			for range strings.Count(line, "}") {
				scopes = scopes[:len(scopes)-1]
			}
		}
		if name != "" && len(comment) > 0 {
			comments[name] = strings.Join(comment, "\n")
		}
		comment = nil
	}
}
