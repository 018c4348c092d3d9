package smtp

import (
	"testing"
	"testing/synctest"
	"time"
)

func send(t *testing.T, p *Pool, key byte, f *fake) Sent {
	t.Helper()
	return p.Send(t.Context(), Key{key}, f.server(None), envelope, message)
}

func mustSend(t *testing.T, p *Pool, key byte, f *fake) Sent {
	t.Helper()
	sent := send(t, p, key, f)
	if sent.Failed != nil {
		t.Fatalf("not sent: %v", sent.Failed)
	}
	return sent
}

func TestPool_KeepsAConnectionForTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFake(t), NewPool(10)
		mustSend(t, p, 1, f)
		time.Sleep(idleTimeout - time.Second)
		if sent := mustSend(t, p, 1, f); f.dialled != 1 || len(sent.Steps) != 5 {
			t.Errorf("%d connections, %d steps: want one connection and the steps of a message", f.dialled, len(sent.Steps))
		}
		time.Sleep(idleTimeout + time.Second)
		synctest.Wait()
		if p.Open() != 0 || f.commands()[len(f.commands())-1] != "QUIT" {
			t.Errorf("%d are open after %s; the server got %q", p.Open(), idleTimeout, f.commands())
		}
		for range 8 { // in use all the time
			mustSend(t, p, 1, f)
			time.Sleep(idleTimeout - time.Second)
		}
		if f.dialled != 3 {
			t.Errorf("%d connections, want a new one after %s", f.dialled, longest)
		}
		p.Close()
	})
}

func TestPool_OpensANewConnectionForOneThatTheServerClosed(t *testing.T) {
	for name, farewell := range map[string]string{"without a word": "", "with 421": "421 4.4.2 idle for too long\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, p := newFake(t, "PIPELINING"), NewPool(1)
				mustSend(t, p, 1, f)
				conn := f.conn
				go func() {
					if farewell != "" {
						_, _ = conn.Write([]byte(farewell))
					}
					_ = conn.Close()
				}()
				synctest.Wait()
				if sent := mustSend(t, p, 1, f); !sent.Repeated || f.dialled != 2 {
					t.Errorf("repeated %t over %d connections, want a second one", sent.Repeated, f.dialled)
				}
				p.Close()
			})
		})
	}
}

// A server that closes every connection is asked twice by an attempt, not for ever.
func TestPool_TriesOneNewConnectionAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFake(t), NewPool(1)
		mustSend(t, p, 1, f)
		f.set("MAIL", "421 4.7.0 too many messages")
		if sent := send(t, p, 1, f); sent.Failed == nil || !sent.Failed.Closing() || f.dialled != 2 {
			t.Errorf("failed: %v over %d connections, want 421 over two", sent.Failed, f.dialled)
		}
		if sent := send(t, p, 1, f); sent.Failed == nil || !sent.Failed.Closing() || f.dialled != 3 {
			t.Errorf("failed: %v over %d connections, want 421 over one more", sent.Failed, f.dialled)
		}
		p.Close()
	})
}

func TestPool_ClosesWhatTheConfigurationHasNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFake(t), NewPool(10)
		mustSend(t, p, 1, f)
		mustSend(t, p, 2, f)
		p.Keep(map[Key]bool{{1}: true})
		if p.Open() != 1 {
			t.Errorf("%d are open, want that of the key that is kept", p.Open())
		}
		mustSend(t, p, 1, f)
		if f.dialled != 2 {
			t.Errorf("%d connections, want two: that of key 1 is kept", f.dialled)
		}
		mustSend(t, p, 2, f) // a delivery that began before
		if p.Open() != 1 {
			t.Errorf("%d are open: one of a key that is gone was kept", p.Open())
		}
		p.Close()
	})
}

func TestPool_AtItsBoundAnIdleConnectionGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFake(t), NewPool(2)
		mustSend(t, p, 1, f)
		time.Sleep(time.Second)
		mustSend(t, p, 2, f)
		mustSend(t, p, 3, f)
		if p.Open() != 2 {
			t.Errorf("%d are open, want 2", p.Open())
		}
		mustSend(t, p, 2, f)
		if f.dialled != 3 {
			t.Errorf("%d connections: the one unused for longest gives way", f.dialled)
		}
		p.Close()
		f.set("greeting", hangs)
		for range 2 {
			go p.Send(t.Context(), Key{4}, f.server(None), envelope, message)
		}
		synctest.Wait()
		if sent := send(t, p, 5, f); sent.Failed == nil || sent.Failed.Class != "local" {
			t.Errorf("failed: %v, want local where all are in use", sent.Failed)
		}
		time.Sleep(greetingTimeout + time.Second)
		close(f.end)
	})
}
