package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/trace"
)

// probeInterval is how often the checks run without a request for /readyz, so that an incident is logged and counted
// when it begins.
const probeInterval = time.Second

var errDraining = errors.New("the process is stopping and finishes its work")

// Serve runs one service in the frame: the admin listener, then run, which has cfg.ShutdownTimeout to return after ctx
// ends. run blocks until its context ends, drains and returns nil; any other result is Serve's error. Where it does not
// return in time, the error names what env.InFlight still holds, and run's goroutines go on: the process is about to
// exit.
func Serve(ctx context.Context, cfg Config, env Env, run func(ctx context.Context, env Env) error) (err error) {
	env.ShutdownTimeout = cfg.ShutdownTimeout
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The metrics of the frame are registered before the listener opens.
	probes := startProbes(env)
	defer probes.stop()
	if env.Trace, err = trace.Open(ctx, cfg.Tracing, env.Name, env.Log, env.Metrics); err != nil {
		return err
	}
	defer env.Trace.Close(ctx)
	pages, err := startAdmin(ctx, cfg, env)
	if err != nil {
		return err
	}
	// The listener outlives the work: a drain can be watched.
	defer func() { err = errors.Join(err, pages.close()) }()

	ended := make(chan error, 1)
	go func() { ended <- run(ctx, env) }()

	select {
	case err := <-ended:
		return err
	case err := <-pages.failed:
		cancel()
		return errors.Join(err, drain(cfg, env, ended))
	case <-ctx.Done():
		return drain(cfg, env, ended)
	}
}

func drain(cfg Config, env Env, ended <-chan error) error {
	env.Health.Set("shutdown", errDraining)
	env.Log.Info("stopping", zap.Duration("shutdown_timeout", cfg.ShutdownTimeout), zap.Strings("open", env.InFlight.Names()))
	timer := time.NewTimer(cfg.ShutdownTimeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		left := env.InFlight.Names()
		if len(left) == 0 {
			left = []string{"the service itself"}
		}
		return fmt.Errorf("not finished %s after the stop: %s", cfg.ShutdownTimeout, strings.Join(left, ", "))
	}
}

// probes run the checks each second.
type probes struct {
	env       Env
	ready     prometheus.Gauge
	incidents *prometheus.CounterVec
	current   map[Incident]bool
	failing   map[string]string
	quit      chan struct{}
	done      chan struct{}
}

func startProbes(env Env) *probes {
	service := strings.ReplaceAll(env.Name, "-", "_")
	p := &probes{
		env: env,
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: service, Name: "ready",
			Help: "1 while every check of /readyz passes, else 0.",
		}),
		incidents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: service, Name: "incidents_total",
			Help: "States that needed a person, by kind.",
		}, []string{"kind"}),
		current: map[Incident]bool{}, failing: map[string]string{},
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	env.Metrics.MustRegister(p.ready, p.incidents)
	go p.run()
	return p
}

func (p *probes) run() {
	defer close(p.done)
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.ask()
		case <-p.quit:
			return
		}
	}
}

func (p *probes) stop() {
	close(p.quit)
	<-p.done
}

// ask logs what began or ended since its last call: an incident at error, a failing check at warn.
func (p *probes) ask() {
	failing := p.env.Health.Failing()
	p.ready.Set(0)
	if len(failing) == 0 {
		p.ready.Set(1)
	}
	current, texts := map[Incident]bool{}, map[string]string{}
	stands := func(in *Incident) {
		// The text may contain a changing number; the same place is the same incident.
		place := *in
		place.Detail = ""
		current[place] = true
		if !p.current[place] {
			p.incidents.WithLabelValues(in.Code).Inc()
			p.env.Log.Error("incident", zap.String("code", in.Code), zap.String("resource", in.Resource),
				zap.String("topic", in.Topic), zap.Int32("partition", in.Partition), zap.Int64("offset", in.Offset),
				zap.String("detail", in.Detail))
		}
	}
	for _, in := range p.env.Health.Noted() {
		stands(in)
	}
	for _, f := range failing {
		texts[f.Check] = f.Error
		for _, in := range f.Incidents {
			stands(in)
		}
		if _, known := p.failing[f.Check]; !known && len(f.Incidents) == 0 && f.Check != "start" {
			p.env.Log.Warn("not ready", zap.String("check", f.Check), zap.String("error", f.Error))
		}
	}
	for check := range p.failing {
		if _, still := texts[check]; !still && check != "start" {
			p.env.Log.Info("check passes again", zap.String("check", check))
		}
	}
	p.current, p.failing = current, texts
}
