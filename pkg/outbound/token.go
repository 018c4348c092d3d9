package outbound

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tollgate/tollgate/pkg/display"
)

// Grant is how access tokens are asked for: the client credentials grant of RFC 6749, section 4.4.
type Grant struct {
	// Owner separates grants that are otherwise equal: the endpoint's name.
	Owner    string
	TokenURL *url.URL
	ClientID string
	Secret   string
	Scopes   []string
	// Audience is the parameter of that name, where it is not empty.
	Audience string
	// InBody sends id and secret as parameters; by default they go into the header Authorization.
	InBody bool
}

const (
	// tokenKept is how long a token is kept whose server gives no time of validity.
	tokenKept = time.Minute
	// tokenMost is how long a token is kept at most.
	tokenMost = 24 * time.Hour
	// tokenMargin is the longest time before its end at which a token is not used any more; of short ones a tenth.
	tokenMargin = time.Minute
	// maxToken bounds a token, in bytes, and maxTokenAnswer the answer that holds it.
	maxToken       = 8 << 10
	maxTokenAnswer = 64 << 10
	// maxTokenError bounds what an error repeats of an answer.
	maxTokenError = 200
)

// Tokens keeps access tokens. It asks for one at a time of each grant, never repeats a request, and keeps a token until
// shortly before its end. It is safe for concurrent use.
type Tokens struct {
	mu     sync.Mutex
	grants *simplelru.LRU[Key, *granted]
}

// granted is the token of one grant.
type granted struct {
	fetching chan struct{} // holds one element while nobody fetches

	mu    sync.Mutex
	token string
	until time.Time // of the monotonic clock
	// fetches counts the answers, err is the last one's error.
	fetches int
	err     error
}

// NewTokens keeps the tokens of at most size grants, those used last.
func NewTokens(size int) (*Tokens, error) {
	grants, err := simplelru.NewLRU[Key, *granted](size, nil)
	if err != nil {
		return nil, err
	}
	return &Tokens{grants: grants}, nil
}

func (g *Grant) key(id Identity) Key {
	hash := sha256.New()
	write := partsOf(hash)
	for _, part := range []string{g.Owner, g.TokenURL.String(), g.ClientID, g.Secret, g.Audience, strconv.FormatBool(g.InBody)} {
		write([]byte(part))
	}
	for _, scope := range g.Scopes {
		write([]byte(scope))
	}
	write(id.key[:])
	var key Key
	hash.Sum(key[:0])
	return key
}

func (t *Tokens) granted(key Key) *granted {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.grants.Get(key)
	if !ok {
		g = &granted{fetching: make(chan struct{}, 1)}
		g.fetching <- struct{}{}
		t.grants.Add(key, g)
	}
	return g
}

// Token is an access token of a grant, by requests of the client of id. kept: it was not fetched for this call, so a
// receiver that refuses it may take a newer one. The error has a class: ClassAuth, or that of a failure of ours.
func (t *Tokens) Token(ctx context.Context, c *Client, id Identity, g *Grant) (token string, kept bool, class Class, err error) {
	at := t.granted(g.key(id))
	token, seen := at.valid()
	if token != "" {
		return token, true, ClassNone, nil
	}
	select {
	case <-at.fetching:
	case <-ctx.Done():
		return "", false, c.waitedFor(ctx), fmt.Errorf("wait for an access token: %w", ctx.Err())
	}
	defer func() { at.fetching <- struct{}{} }()
	// Whoever waited takes the answer that came meanwhile, a refusal too: a hundred requests ask once.
	token, now := at.valid()
	switch {
	case token != "":
		return token, false, ClassNone, nil
	case now != seen && at.err != nil:
		return "", false, ClassAuth, at.err
	}
	token, lasts, class, err := fetch(ctx, c, g)
	if class == ClassCancelled || class == ClassLocal {
		return "", false, class, err // ours: those who wait ask themselves
	}
	at.keep(token, lasts, err)
	return token, false, class, err
}

// Drop forgets a token that a receiver refused, unless it was replaced meanwhile.
func (t *Tokens) Drop(id Identity, g *Grant, token string) {
	at := t.granted(g.key(id))
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.token == token {
		at.token = ""
	}
}

func (g *granted) valid() (token string, fetches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.token != "" && time.Now().Before(g.until) {
		return g.token, g.fetches
	}
	return "", g.fetches
}

func (g *granted) keep(token string, lasts time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetches++
	g.token, g.err = token, err
	g.until = time.Now().Add(lasts - min(lasts/10, tokenMargin))
}

// waitedFor is the class of a wait that ctx ended.
func (c *Client) waitedFor(ctx context.Context) Class {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ClassCancelled
	}
	return ClassAuth
}

// fetch asks for a token, once, on a new connection.
func fetch(ctx context.Context, c *Client, g *Grant) (token string, lasts time.Duration, class Class, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(g.Scopes) > 0 {
		form.Set("scope", strings.Join(g.Scopes, " "))
	}
	if g.Audience != "" {
		form.Set("audience", g.Audience)
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	if g.InBody {
		form.Set("client_id", g.ClientID)
		form.Set("client_secret", g.Secret)
	} else {
		// RFC 6749, section 2.3.1: both are form-encoded first.
		pair := url.QueryEscape(g.ClientID) + ":" + url.QueryEscape(g.Secret)
		header["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}
	}
	r := c.Do(ctx, Request{
		URL: g.TokenURL, Header: header, Body: []byte(form.Encode()), Fresh: true,
		KeepSuccess: maxTokenAnswer, KeepFailure: maxTokenAnswer,
	})
	switch {
	case r.Class == ClassCancelled || r.Class == ClassLocal:
		return "", 0, r.Class, fmt.Errorf("ask for an access token: %w", r.Err)
	case r.Err != nil:
		return "", 0, ClassAuth, fmt.Errorf("ask for an access token: %s: %w", r.Class, r.Err)
	}
	token, lasts, err = readToken(r, g)
	if err != nil {
		return "", 0, ClassAuth, fmt.Errorf("ask for an access token: %w", err)
	}
	return token, lasts, ClassNone, nil
}

// readToken reads the answer of RFC 6749, sections 5.1 and 5.2. Its errors repeat at most a part of it, without secrets.
func readToken(r Result, g *Grant) (string, time.Duration, error) {
	var answer struct {
		Token       string          `json:"access_token"`
		Type        string          `json:"token_type"`
		Expires     json.RawMessage `json:"expires_in"`
		Error       string          `json:"error"`
		Description string          `json:"error_description"`
	}
	unreadable := r.BodyTruncated || json.Unmarshal(r.Body, &answer) != nil
	switch {
	case r.Status != http.StatusOK || answer.Error != "":
		text := fmt.Sprintf("the server answers %d", r.Status)
		if answer.Error != "" {
			text += ": " + g.masked(answer.Error)
		}
		if answer.Description != "" {
			text += ": " + g.masked(answer.Description)
		}
		return "", 0, errors.New(text)
	case unreadable:
		return "", 0, errors.New("the server's answer is not the JSON of a token")
	case answer.Type != "" && !strings.EqualFold(answer.Type, "bearer"):
		return "", 0, errors.New("the token is not of type Bearer but " + g.masked(answer.Type))
	case !isBearer(answer.Token):
		return "", 0, fmt.Errorf("the token is empty, longer than %d bytes or not one of RFC 6750", maxToken)
	}
	return answer.Token, lifetime(answer.Expires), nil
}

// masked is a part of a text that others wrote, without the grant's secret.
func (g *Grant) masked(text string) string {
	if g.Secret != "" {
		text = strings.ReplaceAll(text, g.Secret, "****")
	}
	return display.Text(text, maxTokenError)
}

// isBearer is b68token of RFC 6750, section 2.1, a little wider: what can stand in a header.
func isBearer(token string) bool {
	return printable(token) && token != "" && len(token) <= maxToken
}

// lifetime reads expires_in, a number of seconds, which some servers send as a text.
func lifetime(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || !(seconds > 0) {
		return tokenKept
	}
	return time.Duration(min(seconds, tokenMost.Seconds()) * float64(time.Second))
}
