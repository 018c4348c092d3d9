package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// version is the tag of the images that a run builds.
const version = "test-compose"

// imageBytes bounds each image.
const imageBytes = 40_000_000

// larger are images above the bound, and the bound that they keep: services/systemtest/compose/DESIGN.md has why.
var larger = map[string]int{"config": 45_700_000, "trigger": 45_700_000, "tollgate": 70_700_000}

// engine is the one that the command docker speaks to.
type engine struct {
	host string    // empty: the caller's own
	own  *exec.Cmd // nil: it ran already
	runs string    // the folder of what it runs
	log  *os.File
	// tooLarge are images above their bound, which is reported once the containers have run.
	tooLarge error
}

// openEngine takes the engine that answers, or starts one without a network of its own in dir.
func openEngine(ctx context.Context, dir string) (*engine, error) {
	e := &engine{}
	if _, err := e.docker(ctx, "info"); err == nil {
		fleet.Report("using the Docker engine that runs")
		return e, nil
	}
	if os.Getuid() != 0 {
		return nil, errors.New("no Docker engine answers, and only root can start one")
	}
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	e.log, e.host, e.runs = log, "unix://"+filepath.Join(dir, "docker.sock"), filepath.Join(dir, "docker-run")
	e.own = exec.Command("dockerd", "--bridge=none", "--iptables=false", "-H", e.host, "--data-root", filepath.Join(dir, "docker"),
		"--exec-root", e.runs, "--pidfile", filepath.Join(dir, "docker.pid"))
	e.own.Stdout, e.own.Stderr = log, log
	e.own.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C ends it last
	if err := e.own.Start(); err != nil {
		return nil, fmt.Errorf("start a Docker engine: %w", err)
	}
	fleet.Report("starting a Docker engine")
	err = await(ctx, time.Minute, "the Docker engine to answer", func() (bool, error) {
		_, err := e.docker(ctx, "info")
		return err == nil, nil
	})
	if err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

// close ends the engine that was started.
func (e *engine) close(context.Context) error {
	if e.own == nil {
		return nil
	}
	_ = e.own.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := e.own.Wait(); err != nil {
		return fmt.Errorf("the Docker engine: %w", err)
	}
	// The network of the machine, under the name that the engine has for it, stays mounted.
	if err := syscall.Unmount(filepath.Join(e.runs, "netns", "default"), syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("the Docker engine: unmount its network: %w", err)
	}
	return e.log.Close()
}

// docker runs a command and returns what it prints.
func (e *engine) docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = e.environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// logs are what a container has written to standard output and to standard error.
func (e *engine) logs(ctx context.Context, name string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", "logs", name)
	cmd.Env = e.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker logs %s: %w: %s", name, err, out)
	}
	return string(out), nil
}

func (e *engine) environment() []string {
	if e.host == "" {
		return os.Environ()
	}
	return append(os.Environ(), "DOCKER_HOST="+e.host)
}

// images builds those of make images, and compares their sizes with the bound.
func (e *engine) images(ctx context.Context) error {
	fleet.Report("building images")
	cmd := exec.CommandContext(ctx, "make", "-s", "-C", root(), "images", "VERSION="+version)
	cmd.Env, cmd.Stderr = e.environment(), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // what make has started too
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("make images: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		name, size, found := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), " bytes"), ":"+version+" ")
		bytes, err := strconv.Atoi(size)
		if !found || err != nil {
			return fmt.Errorf("make images has printed %q", line)
		}
		fmt.Printf("image %s: %.1f MB\n", name, float64(bytes)/1e6)
		bound := imageBytes
		if own, there := larger[strings.TrimPrefix(name, "tollgate/")]; there {
			bound = own
		}
		if bytes > bound {
			e.tooLarge = errors.Join(e.tooLarge, fmt.Errorf("image %s has %d bytes, more than %d", name, bytes, bound))
		}
	}
	return nil
}

// await looks until there is what is waited for, or an error.
func await(ctx context.Context, atMost time.Duration, what string, there func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, fmt.Errorf("waited %s for %s", atMost, what))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := there()
		if found || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// root is the repository's: where this file was compiled.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
}
