package ahead

// Flight is a commit on its way to the store.
type Flight interface {
	// Done is closed once the result is known; nil where that is not to be waited for.
	Done() <-chan struct{}
	// Err waits for the result.
	Err() error
}

type flight struct {
	done chan struct{}
	err  error
}

// Beside makes a commit in a goroutine of its own.
func Beside(commit func() error) Flight {
	f := &flight{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = commit()
	}()
	return f
}

// AtOnce makes a commit where it is begun.
func AtOnce(commit func() error) Flight {
	f := &flight{done: make(chan struct{}), err: commit()}
	close(f.done)
	return f
}

func (f *flight) Done() <-chan struct{} { return f.done }

func (f *flight) Err() error {
	<-f.done
	return f.err
}
