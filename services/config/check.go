package config

import (
	"context"
	"runtime"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/services/config/protobounds"
)

// lengths are the bounds that stand in the .proto of each kind; compiled once.
var lengths = sync.OnceValues(func() (protobounds.Bounds, error) {
	var messages []proto.Message
	for _, k := range kinds {
		messages = append(messages, k.make())
	}
	return protobounds.New(messages...)
})

// exceeded are the fields that are larger than their .proto allows; long where one of them is an endless list.
func exceeded(m proto.Message) (fields []fault.Violation, long bool, err error) {
	b, err := lengths()
	if err != nil {
		return nil, false, err
	}
	fields, long = b.Exceeded(m)
	return fields, long, nil
}

// checkTimeout is how long a resource may take to be checked, the wait for a place included.
var checkTimeout = 5 * time.Second

// checking has a place for each check that runs: compiling is all they do, and one caller leaves the others a core.
var checking = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))

// within runs a check with a deadline. One that is given up goes on to its end, in its place, and no caller waits for what it
// found.
func within(ctx context.Context, check func()) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	late := func() error {
		return fault.New(fault.Unavailable, "CHECK_TIMEOUT", "the resource was not checked within %s: try again, or make its expressions simpler", checkTimeout)
	}
	select {
	case checking <- struct{}{}:
	case <-ctx.Done():
		return late()
	}
	done := make(chan any, 1)
	go func() {
		defer func() {
			<-checking
			done <- recover()
		}()
		check()
	}()
	select {
	case panicked := <-done:
		if panicked != nil {
			panic(panicked) // where the call's own recovery reports it
		}
		return nil
	case <-ctx.Done():
		return late()
	}
}
