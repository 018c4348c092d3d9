package profile

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

//go:embed profiles/*.yaml
var files embed.FS

// Profile is one of the ready classes.
type Profile struct {
	Name string
	// Law is its source, in one line.
	Law string
}

// All are all profiles.
func All() []Profile {
	return []Profile{
		{"eu-roaming", "Regulation (EU) 2022/612, Article 14: roaming data, 50 EUR a month without VAT, a second notice at 100 EUR"},
		{"uk-roaming", "practice in the United Kingdom: roaming data, 45 GBP a month"},
		{"uk-bill-limit", "Communications Act 2003, section 124S: the limit that the customer sets"},
		{"uk-psr", "Payment Services Regulations 2017, Schedule 1, Part 2, paragraph 2(l): payments, 40 GBP each, 240 GBP a month"},
		{"eu-psd2", "Directive (EU) 2015/2366, Article 3(l): payments, 50 EUR each, 300 EUR a month"},
	}
}

// Source is the YAML file of a profile, with its comments.
func Source(name string) ([]byte, error) {
	content, err := files.ReadFile("profiles/" + name + ".yaml")
	if err != nil {
		var names []string
		for _, p := range All() {
			names = append(names, p.Name)
		}
		return nil, fmt.Errorf("there is no profile %q, only %s", name, strings.Join(names, ", "))
	}
	return content, nil
}

// Class is the class of service in a profile's file, under the file's name for it.
func Class(name string) (*configv1.ClassOfService, error) {
	content, err := Source(name)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(content, &fields); err != nil {
		return nil, fmt.Errorf("read profile %s: %w", name, err)
	}
	delete(fields, "kind")
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("read profile %s: %w", name, err)
	}
	c := &configv1.ClassOfService{}
	if err := protojson.Unmarshal(body, c); err != nil {
		return nil, fmt.Errorf("read profile %s: %w", name, err)
	}
	return c, nil
}
