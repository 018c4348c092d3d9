package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// product is what docker-compose.yml has of ours, run by plain commands of docker: its images, commands, variables, volumes,
// limits and order. All share this machine's network, so that each listener has a free port here.
type product struct {
	engine  *engine
	project *types.Project
	// at is where an address of the file, such as ingest-1:7020, is on this machine.
	at      map[string]string
	started []string
	// volumes and taken are what was made, and the addresses that were given.
	volumes, taken map[string]bool
	// key is that of operators.
	key string
}

// open reads the file and gives each listener a port. servers are those that are no containers here.
func open(ctx context.Context, e *engine, servers map[string]string) (*product, error) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root(), "docker-compose.yml")}, cli.WithName("tollgate"),
		cli.WithProfiles([]string{"demo"}), cli.WithEnv([]string{"VERSION=" + version}))
	if err != nil {
		return nil, fmt.Errorf("read docker-compose.yml: %w", err)
	}
	p := &product{engine: e, at: servers, volumes: map[string]bool{}, taken: map[string]bool{}}
	if p.project, err = options.LoadProject(ctx); err != nil {
		return nil, fmt.Errorf("read docker-compose.yml: %w", err)
	}
	// In order, so that a name that twins share is the second one's: no victim has it. Compose's own network has both.
	for _, name := range p.project.ServiceNames() {
		c := p.project.Services[name]
		names := []string{name}
		if n := c.Networks["default"]; n != nil {
			names = append(names, n.Aliases...)
		}
		for variable, value := range c.Environment {
			if value == nil || !strings.HasSuffix(variable, "_LISTEN") {
				continue
			}
			address, err := p.freeAddress(ctx)
			if err != nil {
				return nil, err
			}
			for _, as := range names {
				p.at[strings.Replace(*value, "0.0.0.0", as, 1)] = address
			}
		}
	}
	return p, nil
}

// freeAddress takes a port that no one listens at, below those that the system gives to outgoing connections: no client takes
// it before the container listens. No port is given twice.
func (p *product) freeAddress(ctx context.Context) (string, error) {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if p.taken[address] {
			continue
		}
		p.taken[address] = true
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			return address, l.Close()
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("take a free port: %w", err)
		}
	}
}

// here is a value of the file as it is on this machine: an address is another one.
func (p *product) here(container, value string) string {
	if address, there := p.at[strings.Replace(value, "0.0.0.0", container, 1)]; there {
		return address
	}
	return value
}

// container is the name of one, apart from those of compose.
func container(name string) string { return version + "-" + name }

// create makes and starts a container of the file.
func (p *product) create(ctx context.Context, name string, more ...string) error {
	c := p.project.Services[name]
	args := []string{
		"run", "-d", "--name", container(name), "--network", "host", "--memory", strconv.FormatInt(int64(c.MemLimit), 10),
		"--cap-drop", c.CapDrop[0], "--security-opt", c.SecurityOpt[0],
	}
	if c.ReadOnly {
		args = append(args, "--read-only")
	}
	// A check of the file's own takes the place of the image's, and the command line gives none but to a shell.
	if c.HealthCheck != nil {
		args = append(args, "--no-healthcheck")
	}
	for _, v := range c.Volumes {
		volume := container(v.Source)
		p.volumes[volume] = true
		mode := ""
		if v.ReadOnly {
			mode = ":ro"
		}
		args = append(args, "-v", volume+":"+v.Target+mode)
	}
	for variable, value := range c.Environment {
		args = append(args, "-e", variable+"="+p.here(name, *value))
	}
	args = append(args, c.Image)
	for _, word := range append(slices.Clone(c.Command), more...) {
		args = append(args, p.here(name, word))
	}
	p.started = append(p.started, name)
	_, err := p.engine.docker(ctx, args...)
	return err
}

// ours reports whether the file builds the container's image; the others are servers.
func (p *product) ours(name string) bool { return p.project.Services[name].Build != nil }

// up starts everything of ours but the demo, in the order of the file.
func (p *product) up(ctx context.Context) error {
	left := map[string]bool{}
	for name := range p.project.Services {
		left[name] = p.ours(name) && name != "demo"
	}
	for {
		var next []string
		waits := 0
		for name, wanted := range left {
			if !wanted {
				continue
			}
			waits++
			free := true
			for on := range p.project.Services[name].DependsOn {
				free = free && !left[on]
			}
			if free {
				next = append(next, name)
			}
		}
		if waits == 0 {
			return nil
		}
		if len(next) == 0 {
			return errors.New("containers of docker-compose.yml wait for each other")
		}
		for _, name := range next {
			if err := p.create(ctx, name); err != nil {
				return err
			}
		}
		for _, name := range next {
			if err := p.ready(ctx, name); err != nil {
				return err
			}
			left[name] = false
		}
	}
}

// ready waits until a job has ended well, or a service is healthy by its image's own check.
func (p *product) ready(ctx context.Context, name string) error {
	if p.project.Services[name].Restart != "no" {
		return p.healthy(ctx, name)
	}
	code, err := p.engine.docker(ctx, "wait", container(name))
	if err == nil && code != "0" {
		err = fmt.Errorf("the job %s has ended with %s", name, code)
	}
	if err != nil || name != "keys" {
		return err
	}
	// As make up does.
	folder, err := os.MkdirTemp("", "tollgate-key-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a key of a run that is over
	file := filepath.Join(folder, "api-key")
	if _, err := p.engine.docker(ctx, "cp", container(name)+":/keys/operator/api-key", file); err != nil {
		return err
	}
	key, err := os.ReadFile(file)
	p.key = strings.TrimSpace(string(key))
	return err
}

func (p *product) healthy(ctx context.Context, name string) error {
	return await(ctx, 3*time.Minute, name+" to be healthy", func() (bool, error) {
		state, err := p.engine.docker(ctx, "inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container(name))
		if err == nil && strings.HasPrefix(state, "exited") {
			err = fmt.Errorf("%s has ended", name)
		}
		return state == "running healthy", err
	})
}

// demo runs the demo until its first webhook, and returns what it prints.
func (p *product) demo(ctx context.Context) (string, error) {
	c := p.project.Services["demo"]
	for i, word := range c.Command {
		switch word {
		case "--listen":
			address, err := p.freeAddress(ctx)
			if err != nil {
				return "", err
			}
			c.Command[i+1] = address
		case "--host":
			c.Command[i+1] = "127.0.0.1"
		}
	}
	if err := p.create(ctx, "demo", "--once"); err != nil {
		return "", err
	}
	code, err := p.engine.docker(ctx, "wait", container("demo"))
	if err != nil {
		return "", err
	}
	out, err := p.engine.logs(ctx, container("demo"))
	if err == nil && code != "0" {
		err = fmt.Errorf("the demo has ended with %s:\n%s", code, out)
	}
	return out, err
}

// demoAgain runs the demo once more, with another subscriber.
func (p *product) demoAgain(ctx context.Context) error {
	out, err := p.engine.docker(ctx, "start", "-a", container("demo"))
	if err == nil && !strings.Contains(out, "signature verified") {
		err = errors.New("no webhook was verified")
	}
	if err != nil {
		return fmt.Errorf("the demo: %w\n%s", err, out)
	}
	fleet.Report("the demo has verified another webhook")
	return nil
}

// kill ends a container as a crash does, and start starts it again.
func (p *product) kill(ctx context.Context, name string) error {
	_, err := p.engine.docker(ctx, "kill", "-s", "KILL", container(name))
	return err
}

func (p *product) start(ctx context.Context, name string) error {
	if _, err := p.engine.docker(ctx, "start", container(name)); err != nil {
		return err
	}
	return p.healthy(ctx, name)
}

// logs writes what each container has logged into dir.
func (p *product) logs(ctx context.Context, dir string) error {
	var faults error
	for _, name := range p.started {
		out, err := p.engine.logs(context.WithoutCancel(ctx), container(name))
		faults = errors.Join(faults, err, os.WriteFile(filepath.Join(dir, name+".log"), []byte(out), 0o600))
	}
	return faults
}

// close stops every service within its grace, which must drain it, and removes what was made.
func (p *product) close(ctx context.Context) error {
	var faults error
	if len(p.started) == 0 {
		return nil
	}
	fleet.Report("stopping %d containers", len(p.started))
	var services []string
	for _, name := range p.started {
		if p.project.Services[name].Restart != "no" && name != "demo" {
			services = append(services, container(name))
		}
	}
	if len(services) > 0 {
		_, err := p.engine.docker(ctx, append([]string{"stop", "-t", "30"}, services...)...)
		faults = errors.Join(faults, err)
		codes, err := p.engine.docker(ctx, append([]string{"inspect", "-f", "{{.Name}} {{.State.ExitCode}}"}, services...)...)
		faults = errors.Join(faults, err)
		for line := range strings.Lines(codes) {
			if line = strings.TrimSpace(line); !strings.HasSuffix(line, " 0") {
				faults = errors.Join(faults, fmt.Errorf("a service did not drain: container and exit code are %s", line))
			}
		}
	}
	for _, name := range p.started {
		_, err := p.engine.docker(ctx, "rm", "-f", container(name))
		faults = errors.Join(faults, err)
	}
	for volume := range p.volumes {
		_, err := p.engine.docker(ctx, "volume", "rm", volume)
		faults = errors.Join(faults, err)
	}
	return faults
}
