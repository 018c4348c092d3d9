package compose

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// root is the top of the repository, from this folder.
const root = "../../../"

// faults collects what breaks a rule.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// rules are all that a project must keep, with all its profiles.
var rules = []func(p *types.Project, f *faults){
	imagesArePinned, portsAreOnLoopback, startsAreInOrder, memoryIsBounded, secretsAreFiles, consumersAreTwice,
	rootsAreReadOnly, mountsExist, variablesExist, settingsAreRight, addressesExist, prometheusScrapesAll, stopsAreDrains,
}

// service is the name of the service of ours that a container runs; empty for others.
func service(c types.ServiceConfig) string {
	_, name, ours := strings.Cut(c.Image, "tollgate/")
	if name, _, _ = strings.Cut(name, ":"); !ours || name == "tollgate" {
		return ""
	}
	return name
}

func ours(c types.ServiceConfig) bool { return strings.HasPrefix(c.Image, "tollgate/") }

// job is a container that does its work and ends.
func job(c types.ServiceConfig) bool { return c.Restart == "no" }

func imagesArePinned(p *types.Project, f *faults) {
	for name, c := range p.Services {
		named, err := reference.ParseNormalizedNamed(c.Image)
		if err != nil {
			f.add("%s: image %s: %v", name, c.Image, err)
			continue
		}
		if tagged, ok := named.(reference.Tagged); !ok || tagged.Tag() == "latest" {
			f.add("%s: image %s has no tag that stays", name, c.Image)
		}
		if !ours(c) {
			continue
		}
		of := strings.TrimPrefix(reference.Path(named), "tollgate/")
		switch {
		case c.Build == nil:
			f.add("%s: image %s can't be built", name, c.Image)
		case c.Build.Args["SERVICE"] == nil || *c.Build.Args["SERVICE"] != of:
			f.add("%s: image %s is built from another service", name, c.Image)
		default:
			if _, err := os.Stat(filepath.Join(c.Build.Context, c.Build.Dockerfile)); err != nil {
				f.add("%s: %v", name, err)
			}
		}
	}
}

func portsAreOnLoopback(p *types.Project, f *faults) {
	taken := map[string]string{}
	for name, c := range p.Services {
		if c.NetworkMode != "" || c.Privileged {
			f.add("%s: has more than a network of its own", name)
		}
		for _, port := range c.Ports {
			if port.HostIP != "127.0.0.1" || port.Published == "" {
				f.add("%s: port %d is not on 127.0.0.1 alone", name, port.Target)
			}
			if other := taken[port.Published]; other != "" {
				f.add("%s: port %s is that of %s", name, port.Published, other)
			}
			taken[port.Published] = name
		}
	}
}

func startsAreInOrder(p *types.Project, f *faults) {
	for name, c := range p.Services {
		for on, how := range c.DependsOn {
			before, there := p.Services[on]
			want := types.ServiceConditionHealthy
			if job(before) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			switch {
			case !there:
				f.add("%s: depends on %s, which there is not", name, on)
			case how.Condition != want:
				f.add("%s: depends on %s by %s, not by %s", name, on, how.Condition, want)
			case how.Required && len(before.Profiles) > 0 && !slices.Equal(before.Profiles, c.Profiles):
				f.add("%s: depends on %s, which only a profile has", name, on)
			}
		}
		if service(c) != "" && service(c) != "config" {
			for _, on := range []string{"keys", "topics", "redis", "config"} {
				if _, waits := c.DependsOn[on]; !waits {
					f.add("%s: does not wait for %s", name, on)
				}
			}
		}
		// Compose's --wait fails at a container whose check is disabled, unless it is a job.
		if check := c.HealthCheck; service(c) == "" && !job(c) && (check == nil || len(check.Test) == 0 || check.Disable) {
			f.add("%s: has no check of its health", name)
		} else if service(c) != "" && check != nil {
			f.add("%s: has a check of its health beside that of its image", name)
		}
		if !job(c) && c.Restart != "unless-stopped" {
			f.add("%s: does not start again after a crash", name)
		}
	}
}

func memoryIsBounded(p *types.Project, f *faults) {
	for name, c := range p.Services {
		if c.MemLimit <= 0 {
			f.add("%s: has no limit of memory", name)
		}
		if service(c) == "" {
			continue
		}
		var soft int64
		if text := c.Environment["GOMEMLIMIT"]; text == nil || len(strings.TrimSuffix(*text, "MiB")) == len(*text) {
			f.add("%s: has no GOMEMLIMIT in MiB", name)
		} else if _, err := fmt.Sscanf(*text, "%dMiB", &soft); err != nil || soft<<20 > int64(c.MemLimit)*9/10 {
			f.add("%s: GOMEMLIMIT %s is not a tenth below mem_limit", name, *text)
		}
	}
}

// withPassword is a URL that has a password in it.
var withPassword = regexp.MustCompile(`\w+://[^/@\s:]*:[^/@\s]+@`)

func secretsAreFiles(p *types.Project, f *faults) {
	for name, c := range p.Services {
		for variable, value := range c.Environment {
			if value == nil {
				f.add("%s: %s is taken from the caller's environment", name, variable)
				continue
			}
			secret := regexp.MustCompile(`PASSWORD|SECRET|TOKEN|API_KEY|KEYSET|CREDENTIALS|DATABASE_URL`).MatchString(variable)
			switch {
			case withPassword.MatchString(*value):
				f.add("%s: %s has a password in it", name, variable)
			case secret && !strings.HasSuffix(variable, "_FILE"):
				f.add("%s: %s is no file", name, variable)
			case secret && *value != "" && !mounted(c, *value):
				f.add("%s: %s is %s, which lies in no volume", name, variable, *value)
			}
		}
		if withPassword.MatchString(strings.Join(c.Command, " ")) || regexp.MustCompile(`--api-key([ =]|$)`).MatchString(strings.Join(c.Command, " ")) {
			f.add("%s: its command has a secret in it", name)
		}
		if len(c.EnvFiles) > 0 {
			f.add("%s: takes its environment from a file", name)
		}
		// Who only reads keys can't change them, and no service has the key of operators.
		for _, v := range c.Volumes {
			if strings.HasPrefix(v.Target, "/keys") && !v.ReadOnly && name != "keys" {
				f.add("%s: may write %s", name, v.Target)
			}
			if v.Source == "operator-keys" && name != "keys" && name != "demo" {
				f.add("%s: has the key of operators", name)
			}
		}
	}
	if g, there := p.Services["grafana"]; there {
		for _, variable := range []string{"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "GF_AUTH_DISABLE_LOGIN_FORM"} {
			if value := g.Environment[variable]; value == nil || *value != "true" {
				f.add("grafana: %s is not true, so that it has a default password", variable)
			}
		}
	}
}

// mounted reports whether a path of a container lies in a volume or a mount.
func mounted(c types.ServiceConfig, path string) bool {
	return slices.ContainsFunc(c.Volumes, func(v types.ServiceVolumeConfig) bool { return strings.HasPrefix(path, v.Target+"/") })
}

func consumersAreTwice(p *types.Project, f *faults) {
	for _, s := range process.Table {
		var all []string
		for name, c := range p.Services {
			if service(c) == s.Name {
				all = append(all, name)
			}
		}
		want := 2
		if s.Name == "config" {
			want = 1 // it owns its SQLite file
		}
		if len(all) != want {
			f.add("%s runs in %d containers, not in %d", s.Name, len(all), want)
			continue
		}
		advertised := map[string]bool{}
		for _, name := range all {
			c := p.Services[name]
			at := c.Environment["TOLLGATE_GRPC_ADVERTISE"]
			if at == nil || !strings.HasPrefix(*at, name+":") {
				f.add("%s: does not advertise its own name", name)
				continue
			}
			advertised[*at] = true
			if first := p.Services[all[0]]; !alike(first, c) {
				f.add("%s: differs from its twin in more than its address and its ports", name)
			}
			if s.Name != "config" && (c.Networks["default"] == nil || !slices.Contains(c.Networks["default"].Aliases, s.Name)) {
				f.add("%s: is not found by the name %s", name, s.Name)
			}
		}
	}
}

func alike(a, b types.ServiceConfig) bool {
	but := func(c types.ServiceConfig) string {
		environment := maps.Clone(c.Environment)
		delete(environment, "TOLLGATE_GRPC_ADVERTISE")
		c.Name, c.Ports, c.Environment = "", nil, environment
		text, err := yaml.Marshal(c)
		return fmt.Sprint(string(text), err)
	}
	return but(a) == but(b)
}

func rootsAreReadOnly(p *types.Project, f *faults) {
	for name, c := range p.Services {
		// The image of Kafka writes its settings below /opt/kafka before it starts.
		if !c.ReadOnly && name != "kafka" {
			f.add("%s: its root can be written", name)
		}
		if !ours(c) {
			continue
		}
		if !slices.Equal(c.CapDrop, []string{"ALL"}) || !slices.Contains(c.SecurityOpt, "no-new-privileges:true") || c.User != "" {
			f.add("%s: has more rights than its image gives it", name)
		}
	}
}

func mountsExist(p *types.Project, f *faults) {
	for name, c := range p.Services {
		for _, v := range c.Volumes {
			switch v.Type {
			case types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
					f.add("%s: mounts %s, which does not exist or may be changed", name, v.Source)
				}
			case types.VolumeTypeVolume:
				if _, there := p.Volumes[v.Source]; !there {
					f.add("%s: mounts the volume %s, which there is not", name, v.Source)
				}
			}
		}
		// Files that a command names lie in what is mounted.
		for _, word := range c.Command {
			_, path, found := strings.Cut(word, "=/")
			if found && !mounted(c, "/"+path) && !slices.ContainsFunc(c.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == "/"+path }) {
				f.add("%s: %s is not mounted", name, word)
			}
			for _, v := range c.Volumes {
				if inside, ok := strings.CutPrefix("/"+path, v.Target+"/"); found && ok && v.Type == types.VolumeTypeBind {
					if _, err := os.Stat(filepath.Join(v.Source, inside)); err != nil {
						f.add("%s: %v", name, err)
					}
				}
			}
		}
	}
}

func variablesExist(p *types.Project, f *faults) {
	known := daemon.Variables()
	for name, c := range p.Services {
		for variable := range c.Environment {
			if strings.HasPrefix(variable, "TOLLGATE_") && !slices.Contains(known, variable) {
				f.add("%s: no process reads %s", name, variable)
			}
		}
	}
}

// settingsAreRight: each process takes its file of deploy/config with the variables, as -check-config does.
func settingsAreRight(p *types.Project, f *faults) {
	for name, c := range p.Services {
		s, known := process.Find(service(c))
		if !known {
			continue
		}
		var environ []string
		for variable, value := range c.Environment {
			if value != nil {
				environ = append(environ, variable+"="+*value)
			}
		}
		if _, err := s.Load(root+"deploy/config/"+s.Name+".yaml", environ...); err != nil {
			f.add("%s: %v", name, err)
		}
	}
}

// addressesExist: what a container is given as an address is one at which another listens, by its name or alias.
func addressesExist(p *types.Project, f *faults) {
	listens := map[string]bool{"kafka:9092": true, "redis:6379": true, "mail:1025": true, "postgres:5432": true, "prometheus:9090": true}
	for name, c := range p.Services {
		at := c.Environment["TOLLGATE_GRPC_LISTEN"]
		if at == nil {
			continue
		}
		host, port, err := net.SplitHostPort(*at)
		if err != nil || host != "0.0.0.0" {
			f.add("%s: listens at %s, where no other container reaches it", name, *at)
		}
		listens[name+":"+port] = true
		if n := c.Networks["default"]; n != nil {
			for _, alias := range n.Aliases {
				listens[alias+":"+port] = true
			}
		}
	}
	for name, c := range p.Services {
		for variable, value := range c.Environment {
			asked := regexp.MustCompile(`^TOLLGATE_.*(_ADDR|_ADDRESS|_BROKERS|_ADVERTISE)$`).MatchString(variable)
			if asked && !listens[*value] {
				f.add("%s: nothing listens at %s, which is %s", name, *value, variable)
			}
		}
	}
	var sources struct {
		Datasources []struct {
			UID string `yaml:"uid"`
			URL string `yaml:"url"`
		} `yaml:"datasources"`
	}
	text, err := os.ReadFile(root + "deploy/grafana/provisioning/datasources/prometheus.yml")
	if err != nil || yaml.Unmarshal(text, &sources) != nil || len(sources.Datasources) != 1 {
		f.add("grafana: its source of data can't be read: %v", err)
		return
	}
	if u, err := url.Parse(sources.Datasources[0].URL); err != nil || !listens[u.Host] {
		f.add("grafana: nothing listens at %s", sources.Datasources[0].URL)
	}
}

func prometheusScrapesAll(p *types.Project, f *faults) {
	var scraped struct {
		Rules   []string `yaml:"rule_files"`
		Scrapes []struct {
			Job     string `yaml:"job_name"`
			Configs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	text, err := os.ReadFile(root + "deploy/prometheus/compose.yml")
	if err != nil || yaml.Unmarshal(text, &scraped) != nil || len(scraped.Scrapes) != 1 || scraped.Scrapes[0].Job != "tollgate" {
		f.add("prometheus: its settings can't be read: %v", err)
		return
	}
	for _, file := range scraped.Rules {
		if _, err := os.Stat(root + "deploy/prometheus/" + file); err != nil {
			f.add("prometheus: %v", err)
		}
	}
	var want []string
	for name, c := range p.Services {
		if at := c.Environment["TOLLGATE_ADMIN_LISTEN"]; at != nil {
			want = append(want, strings.Replace(*at, "0.0.0.0:", name+":", 1))
		}
	}
	var have []string
	for _, targets := range scraped.Scrapes[0].Configs {
		have = append(have, targets.Targets...)
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		f.add("prometheus: scrapes %v, not %v", have, want)
	}
}

func stopsAreDrains(p *types.Project, f *faults) {
	for name, c := range p.Services {
		s, known := process.Find(service(c))
		if !known {
			continue
		}
		drain := s.Default().Frame().ShutdownTimeout
		if c.StopGracePeriod == nil || time.Duration(*c.StopGracePeriod) <= drain {
			f.add("%s: is killed before its shutdown_timeout of %s", name, drain)
		}
	}
}
