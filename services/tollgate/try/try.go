package try

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Config is how a run is asked for.
type Config struct {
	// Data is the folder to keep everything in; empty for one that is removed at the end.
	Data string
	// Once ends the run when the first webhook was received and verified.
	Once bool
	// Verbose sends the services' logs to Err instead of files.
	Verbose bool
	// Started is when the process began: steps are timed, and Once is measured, from there.
	Started  time.Time
	Out, Err io.Writer
	Colour   bool
	// Program is how this program was called, for commands that are shown; tollgate where it is empty.
	Program string
	// Patience is how long Once waits; 60 s where it is 0.
	Patience time.Duration
	// AnyPort takes free ports at once, not the usual ones where they are free.
	AnyPort bool
	// Running are services that run elsewhere: then nothing but the traffic and the receiver is started. nil: everything is.
	Running *Running
	// Pause is how long the traffic after the first journey waits between events; 4 s where it is 0.
	Pause time.Duration
}

func (c Config) withDefaults() Config {
	if c.Patience == 0 {
		c.Patience = 60 * time.Second
	}
	if c.Program == "" {
		c.Program = "tollgate"
	}
	if c.Pause == 0 {
		c.Pause = 4 * time.Second
	}
	return c
}

// errShown ends a run that did what Once asked for.
var errShown = errors.New("the first delivery was received and verified")

// Run shows everything until ctx ends, which is its ordinary end: services finish their work, and the answer is nil.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	folder, err := openFolder(cfg.Data, cfg.Running.key())
	if err != nil {
		return err
	}
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	if cfg.Once {
		var cancel context.CancelFunc
		running, cancel = context.WithDeadlineCause(running, cfg.Started.Add(cfg.Patience), errPatience)
		defer cancel()
	}
	r := &run{cfg: cfg, folder: folder, story: newStory(cfg.Out, cfg.Started, cfg.Colour), end: end}
	err = r.show(running)
	if errors.Is(err, errShown) || ctx.Err() != nil {
		// Asked to end, or done: what was under way when it ended is no fault.
		err = nil
	}
	if err != nil {
		err = r.explain(running, err)
	}
	if cfg.Running != nil {
		err = errors.Join(err, r.closeClients())
	} else if r.installation != nil {
		r.story.plain("stopping: services finish what they have begun")
		failed := r.installation.Err()
		if closed := r.close(); failed == nil { // else it is the same error again
			err = errors.Join(err, closed)
		}
	}
	return errors.Join(err, folder.close(err != nil))
}

var errPatience = errors.New("time is up")

// run is one run: what it started, so that it can be explained and closed wherever it ended.
type run struct {
	cfg          Config
	folder       *folder
	story        *story
	receiver     *receiver
	mail         *mailServer
	installation *allinone.Installation
	stop         context.CancelFunc
	end          context.CancelCauseFunc // of the run
	configConn   *grpc.ClientConn
	ingestConn   *grpc.ClientConn
	optionsConn  *grpc.ClientConn
	actionsConn  *grpc.ClientConn
}

func (r *run) close() error {
	r.stop()
	return errors.Join(r.installation.Close(), r.closeClients())
}

// closeClients closes what is outside the services.
func (r *run) closeClients() (err error) {
	for _, conn := range []*grpc.ClientConn{r.configConn, r.ingestConn, r.optionsConn, r.actionsConn} {
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
	}
	if r.receiver != nil {
		err = errors.Join(err, r.receiver.close())
	}
	if r.mail != nil {
		err = errors.Join(err, r.mail.close())
	}
	return err
}

func (r *run) show(ctx context.Context) (err error) {
	if r.cfg.Running != nil {
		return r.demonstrate(ctx)
	}
	r.story.title("every service in one process, with an embedded Kafka and Redis", r.folder)
	if r.receiver, err = startReceiver(ctx, r.folder, r.cfg.AnyPort); err != nil {
		return err
	}
	if r.mail, err = startMailServer(ctx, r.folder, r.cfg.AnyPort); err != nil {
		return errors.Join(err, r.receiver.close())
	}
	// Services outlive the end of ctx until they are closed: then they drain.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.story.waitFor("the embedded servers, config and ingest to start")
	r.installation, err = allinone.Open(serving, allinone.Config{
		Dir: r.folder.path, KeyFile: r.folder.file(keyFile), Log: r.log, AnyPort: r.cfg.AnyPort,
	})
	if err != nil {
		stop()
		return errors.Join(err, r.receiver.close(), r.mail.close())
	}
	defer endWith(r.installation, r.end)()
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.configure(ctx); err != nil {
		return err
	}
	if err := r.installation.Work(serving); err != nil {
		return err
	}
	if err := r.addresses(ctx); err != nil {
		return err
	}
	if err := r.awaitRevision(ctx); err != nil {
		return err
	}
	return r.traffic(ctx)
}

// services are what the run depends on.
type services interface {
	Failed() <-chan struct{}
	Err() error
}

// endWith ends a run with the first service that ends by itself, until the returned function is called: whatever it
// waits for would never come.
func endWith(all services, end context.CancelCauseFunc) (done func()) {
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-all.Failed():
			end(endedBy(all.Err()))
		case <-over:
		}
	})
	return func() { close(over); watch.Wait() }
}

func endedBy(failed error) error {
	return fmt.Errorf("a service ended, and everything with it: %w", failed)
}

func (r *run) log(service string) (io.Writer, error) {
	if r.cfg.Verbose {
		return r.cfg.Err, nil
	}
	return r.folder.log(service)
}

func (r *run) connect(ctx context.Context) error {
	return errors.Join(r.dial(ctx, "config", &r.configConn), r.dial(ctx, "ingest", &r.ingestConn))
}

// dial connects to a service; calls wait until it answers.
func (r *run) dial(ctx context.Context, service string, conn **grpc.ClientConn) (err error) {
	wait := grpc.WithDefaultCallOptions(grpc.WaitForReady(true))
	if r.installation == nil {
		*conn, err = r.cfg.Running.Dial(r.cfg.Running.Services[service], wait)
		return err
	}
	address, err := r.installation.Service(service).Address(ctx, "grpc")
	if err == nil {
		*conn, err = rpc.Dial(address, r.folder.key, wait)
	}
	return err
}

// configure applies the sample, which lies in the folder too, for people to change.
func (r *run) configure(ctx context.Context) error {
	to, networks, err := r.outside()
	if err != nil {
		return err
	}
	content, err := sample(r.folder.kept.Secret, r.receiver, to, networks)
	if err != nil {
		return err
	}
	if err := r.folder.write(sampleFile, content, 0o600); err != nil {
		return err
	}
	documents, err := manifest.Parse(sampleFile, content)
	if err != nil {
		return err
	}
	r.story.waitFor("the sample configuration to be applied")
	outcomes, err := manifest.Apply(ctx, r.configConn, documents)
	if err != nil {
		return err
	}
	changed := 0
	for _, o := range outcomes {
		if o.Result != manifest.Unchanged {
			changed++
		}
	}
	r.story.step("configured", "tenant %s, class of service %s (limit 50.00 EUR, alert at 80 %%), an endpoint, a hook, an SMTP profile, a user, a notification: %d of %d changed",
		tenant, class, changed, len(outcomes))
	return nil
}

// explain adds to an error what was waited for, and which service is not ready.
func (r *run) explain(ctx context.Context, err error) error {
	text := err.Error()
	if cause := context.Cause(ctx); errors.Is(cause, errPatience) {
		text = fmt.Sprintf("no %s was received and verified within %s", journeyChannel, r.cfg.Patience)
		if waiting := r.story.waiting(); waiting != "" {
			text += "; waited for " + waiting
		}
	}
	lines := []string{text}
	switch {
	case r.installation == nil:
	case r.installation.Err() != nil:
		lines = []string{endedBy(r.installation.Err()).Error()}
	default:
		for _, s := range r.installation.Services() {
			for _, f := range s.Failing() {
				lines = append(lines, fmt.Sprintf("%s is not ready: %s: %s", s.Name, f.Check, f.Error))
			}
		}
	}
	if !r.cfg.Verbose && r.installation != nil {
		lines = append(lines, "the services' logs are in "+r.folder.file("log"))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// addresses prints where everything is.
func (r *run) addresses(ctx context.Context) error {
	rows := [][2]string{{"kafka", r.installation.Kafka}, {"redis", r.installation.Redis}}
	for _, s := range r.installation.Services() {
		r.story.waitFor(s.Name + " to listen")
		grpcAddress, err := s.Address(ctx, "grpc")
		if err != nil {
			return err
		}
		text := grpcAddress
		if s.Name == "ingest" {
			http, err := s.Address(ctx, "http")
			if err != nil {
				return err
			}
			text += "  http://" + http + "/v1/events"
		}
		admin, err := s.Address(ctx, "admin")
		if err != nil {
			return err
		}
		rows = append(rows, [2]string{s.Name, fmt.Sprintf("%-50s admin http://%s", text, admin)})
	}
	rows = append(rows, [2]string{"receiver", r.receiver.url()}, [2]string{"smtp", r.mail.address()}, [2]string{"api key", r.folder.file(keyFile)})
	r.story.table(rows)
	return nil
}
