package outbound

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tokenServer answers requests for tokens.
type tokenServer struct {
	client *Client
	id     Identity
	grant  *Grant
	tokens *Tokens
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newTokenServer(t *testing.T, answer http.HandlerFunc, change ...func(*httptest.Server)) *tokenServer {
	t.Helper()
	ts := &tokenServer{}
	ts.answer.Store(&answer)
	s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		ts.asked.Add(1)
		(*ts.answer.Load())(w, r)
	}, change...)
	ts.client = mustClient(t, o)
	ts.id = mustIdentity(t, "acme", o.Policy, o.CAs, nil)
	ts.grant = &Grant{Owner: "e", TokenURL: mustURL(t, s.URL+"/token"), ClientID: "tollgate", Secret: "s3cret+/"}
	var err error
	if ts.tokens, err = NewTokens(10); err != nil {
		t.Fatal(err)
	}
	return ts
}

func (ts *tokenServer) token(ctx context.Context) (string, bool, Class, error) {
	return ts.tokens.Token(ctx, ts.client, ts.id, ts.grant)
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

const good = `{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}`

func TestToken_AsksByRFC6749(t *testing.T) {
	for name, tc := range map[string]struct {
		grant func(*Grant)
		form  url.Values
		basic string
	}{
		"credentials in the header": {func(*Grant) {}, url.Values{"grant_type": {"client_credentials"}}, "tollgate:s3cret%2B%2F"},
		"credentials in the body": {
			func(g *Grant) { g.InBody = true },
			url.Values{"grant_type": {"client_credentials"}, "client_id": {"tollgate"}, "client_secret": {"s3cret+/"}}, "",
		},
		"scopes and audience": {
			func(g *Grant) { g.Scopes, g.Audience = []string{"events.write", "x y"[:1]}, "https://api.example.com/" },
			url.Values{"grant_type": {"client_credentials"}, "scope": {"events.write x"}, "audience": {"https://api.example.com/"}},
			"tollgate:s3cret%2B%2F",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTokenServer(t, func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err != nil || r.PostForm.Encode() != tc.form.Encode() || r.Method != http.MethodPost {
					t.Errorf("asked by %s with %v: %v", r.Method, r.PostForm, err)
				}
				want := ""
				if tc.basic != "" {
					want = "Basic " + base64.StdEncoding.EncodeToString([]byte(tc.basic))
				}
				if got := r.Header.Get("Authorization"); got != want {
					t.Errorf("authorization %q, want %q", got, want)
				}
				answers(200, good)(w, r)
			})
			tc.grant(ts.grant)
			for i := range 2 {
				token, kept, class, err := ts.token(t.Context())
				if token != "tok-1" || kept != (i > 0) || class != ClassNone || err != nil {
					t.Errorf("%q %v %s %v", token, kept, class, err)
				}
			}
			if n := ts.asked.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestToken_AnswersThatAreNoToken(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string // a part of the error
	}{
		"an error of RFC 6749":      {answers(400, `{"error":"invalid_client","error_description":"s3cret+/ is wrong"}`), "invalid_client: **** is wrong"},
		"an error with status 200":  {answers(200, `{"error":"server_error"}`), "server_error"},
		"a page":                    {answers(200, "<html>"), "not the JSON"},
		"no token":                  {answers(200, `{"token_type":"Bearer"}`), "RFC 6750"},
		"another type":              {answers(200, `{"access_token":"x","token_type":"mac"}`), "mac"},
		"a token with a line break": {answers(200, `{"access_token":"x\r\nX-Evil: 1"}`), "RFC 6750"},
		"a token with a blank":      {answers(200, `{"access_token":"a b"}`), "RFC 6750"},
		"a token of 9 KiB":          {answers(200, `{"access_token":"`+strings.Repeat("x", 9<<10)+`"}`), "RFC 6750"},
		"an answer of 100 KiB":      {answers(200, `{"access_token":"x","pad":"`+strings.Repeat("x", 100<<10)+`"}`), "not the JSON"},
		"a redirect":                {answers(302, ""), "302"},
		"an error of 10 KiB":        {answers(500, `{"error":"`+strings.Repeat("x", 10<<10)+`"}`), "500"},
		"terminal codes":            {answers(500, `{"error":"\u001b[2Jx"}`), "500"},
		"the connection breaks":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTokenServer(t, tc.answer)
			token, _, class, err := ts.token(t.Context())
			if token != "" || class != ClassAuth || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%q %s %v", token, class, err)
			}
			if text := err.Error(); len(text) > 600 || strings.Contains(text, "s3cret") || strings.ContainsAny(text, "\x1b\r\n") {
				t.Errorf("the error is %q", text)
			}
			if n := ts.asked.Load(); n != 1 {
				t.Errorf("asked %d times: a request for a token is not repeated", n)
			}
		})
	}
}

// A request for a token that is lost is not repeated, not even where a connection waits that has served one.
func TestToken_IsNeverAskedForTwice(t *testing.T) {
	var requests, connections atomic.Int64
	ts := newTokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		answers(200, `{"access_token":"tok-1","expires_in":0.001}`)(w, r)
	}, func(s *httptest.Server) {
		s.EnableHTTP2 = false
		s.Config.ConnState = countConnections(&connections, nil)
	})
	if token, _, _, err := ts.token(t.Context()); token == "" {
		t.Fatal(err)
	}
	ts.tokens.Drop(ts.id, ts.grant, "tok-1")
	if _, _, class, _ := ts.token(t.Context()); class != ClassAuth || requests.Load() != 2 || connections.Load() != 2 {
		t.Errorf("class %q after %d requests on %d connections", class, requests.Load(), connections.Load())
	}
}

func TestToken_IsKeptUntilShortlyBeforeItsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		expires string
		kept    time.Duration
	}{
		"an hour":                {`,"expires_in":3600`, 59 * time.Minute},
		"ten seconds":            {`,"expires_in":10`, 9 * time.Second},
		"as a text":              {`,"expires_in":"100"`, 90 * time.Second},
		"not given":              {``, 54 * time.Second},
		"nonsense":               {`,"expires_in":"soon"`, 54 * time.Second},
		"no number":              {`,"expires_in":"NaN"`, 54 * time.Second},
		"zero":                   {`,"expires_in":0`, 54 * time.Second},
		"negative":               {`,"expires_in":-5`, 54 * time.Second},
		"a hundred years":        {`,"expires_in":3153600000`, 24*time.Hour - time.Minute},
		"more than numbers hold": {`,"expires_in":1e400`, 54 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				network := &inMemory{serve: func(c net.Conn) {
					readRequest(c)
					asked++
					body := `{"access_token":"tok"` + tc.expires + `}`
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body))
				}}
				o := Options{}.withDefaults()
				o.Policy.PlainHTTP = true
				c, err := newClient(o, dialerOn(o, network))
				if err != nil {
					t.Fatal(err)
				}
				defer network.serving.Wait()
				defer c.Close()
				tokens, err := NewTokens(1)
				if err != nil {
					t.Fatal(err)
				}
				ask := func() {
					t.Helper()
					if _, _, _, err := tokens.Token(t.Context(), c, Identity{}, &Grant{TokenURL: mustURL(t, "http://example.com/")}); err != nil {
						t.Fatal(err)
					}
				}
				ask()
				time.Sleep(tc.kept - time.Millisecond)
				if ask(); asked != 1 {
					t.Errorf("asked again before %s", tc.kept)
				}
				time.Sleep(time.Millisecond)
				if ask(); asked != 2 {
					t.Errorf("still kept after %s", tc.kept)
				}
			})
		})
	}
}

// A hundred requests ask once, whatever the answer; where the one that asks gives up, the next one does.
func TestToken_IsAskedForByOneAtATime(t *testing.T) {
	for name, body := range map[string]string{"a token": good, "a refusal": `{"error":"invalid_client"}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				release := make(chan struct{})
				network := &inMemory{serve: func(c net.Conn) {
					readRequest(c)
					asked.Add(1)
					<-release
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body))
				}}
				o := Options{}.withDefaults()
				o.Policy.PlainHTTP = true
				c, err := newClient(o, dialerOn(o, network))
				if err != nil {
					t.Fatal(err)
				}
				defer network.serving.Wait()
				defer c.Close()
				tokens, err := NewTokens(1)
				if err != nil {
					t.Fatal(err)
				}
				grant := &Grant{TokenURL: mustURL(t, "http://example.com/")}
				first, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				all.Go(func() {
					if _, _, class, _ := tokens.Token(first, c, Identity{}, grant); class != ClassCancelled {
						t.Errorf("the one that gave up has class %q", class)
					}
				})
				synctest.Wait()
				for range 100 {
					all.Go(func() {
						token, _, class, err := tokens.Token(t.Context(), c, Identity{}, grant)
						if (token == "tok-1") != (body == good) || (class == ClassAuth) == (body == good) {
							t.Errorf("%q %s %v", token, class, err)
						}
					})
				}
				synctest.Wait()
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
				cancel()
				synctest.Wait()
				close(release)
				all.Wait()
				if n := asked.Load(); n != 2 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestToken_BelongsToItsGrant(t *testing.T) {
	ts := newTokenServer(t, answers(200, good))
	ask := func() { _, _, _, _ = ts.token(t.Context()) }
	ask()
	for name, change := range map[string]func(){
		"another endpoint": func() { ts.grant.Owner = "f" },
		"another secret":   func() { ts.grant.Secret = "other" },
		"another scope":    func() { ts.grant.Scopes = []string{"a"} },
		"another audience": func() { ts.grant.Audience = "b" },
		"another identity": func() { ts.id = mustIdentity(t, "other", Policy{}, nil, nil) },
	} {
		before := ts.asked.Load()
		change()
		if ask(); ts.asked.Load() != before+1 {
			t.Errorf("%s uses the token", name)
		}
	}
}

func TestToken_OfAnAddressThatIsRefused(t *testing.T) {
	ts := newTokenServer(t, answers(200, good))
	ts.client = mustClient(t, Options{Policy: Policy{Ports: []uint16{uint16(mustPort(t, ts.grant.TokenURL))}}})
	_, _, class, err := ts.token(t.Context())
	if class != ClassAuth || !strings.Contains(err.Error(), string(ClassRefusedAddress)) || ts.asked.Load() != 0 {
		t.Errorf("%s %v, asked %d times", class, err, ts.asked.Load())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, class, err := ts.token(ended); class != ClassCancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("%s %v", class, err)
	}
}
