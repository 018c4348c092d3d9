package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/subscriberimport"
)

// progress is a bar on standard error while a file is sent whose answers go elsewhere.
type progress struct {
	all *mpb.Progress
	bar *mpb.Bar
}

func showProgress(streams command.Streams, size int64) progress {
	if size == 0 || !command.IsTerminal(streams.Err) || command.IsTerminal(streams.Out) {
		return progress{}
	}
	all := mpb.New(mpb.WithOutput(command.Drawn(streams.Err)), mpb.WithRefreshRate(200*time.Millisecond))
	return progress{all, all.AddBar(size,
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f of % .1f")),
		mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))}
}

func (p progress) reads(in io.Reader) io.Reader {
	if p.bar == nil {
		return in
	}
	return p.bar.ProxyReader(in)
}

func (p progress) end() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.all.Wait()
	}
}

// importProgress is a bar for each stage of an import, on standard error where that is a terminal, and the lines that
// come meanwhile.
type importProgress struct {
	streams command.Streams
	all     *mpb.Progress
	bars    map[subscriberimport.Stage]*mpb.Bar
}

func (p *importProgress) show(stage subscriberimport.Stage, done, total int64) {
	if !command.IsTerminal(p.streams.Err) {
		return
	}
	if p.all == nil {
		p.all = mpb.New(mpb.WithOutput(command.Drawn(p.streams.Err)), mpb.WithRefreshRate(200*time.Millisecond))
		p.bars = map[subscriberimport.Stage]*mpb.Bar{}
	}
	bar := p.bars[stage]
	if bar == nil {
		counters := decor.CountersNoUnit("sent %d of %d")
		if stage == subscriberimport.Checking {
			counters = decor.CountersKibiByte("checked % .1f of % .1f")
		}
		bar = p.all.AddBar(total, mpb.PrependDecorators(counters), mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
		// What an earlier run did does not count for the pace of this one.
		bar.DecoratorAverageAdjust(time.Now())
		p.bars[stage] = bar
	}
	bar.SetCurrent(done)
}

// complain prints what is wrong with a row, above the bars.
func (p *importProgress) complain(file string, f subscriberimport.Fault) {
	w := p.streams.Err
	if p.all != nil {
		w = p.all
	}
	for _, v := range f.Violations {
		fmt.Fprintf(w, "tollgate: %s:%d: %s\n", file, f.Line, display.Text(v.String(), command.MaxLine))
	}
}

func (p *importProgress) end() {
	if p.all == nil {
		return
	}
	for _, bar := range p.bars {
		bar.Abort(false)
	}
	p.all.Wait()
}
