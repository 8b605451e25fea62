package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A Client obtains, keeps and refreshes the tokens for one server. It is a
// [TokenSource], and safe for concurrent use.
type Client struct {
	opts   Options
	server *url.URL
	key    Key
	http   *http.Client
	own    *http.Transport // what closing closes, nil when the options gave one

	secretInHeader atomic.Bool
	current        atomic.Pointer[Record] // never changed, only replaced; nil without a login
	loaded         atomic.Bool            // the store was asked

	mu       sync.Mutex
	flight   *flight
	closed   bool
	seed     string    // the refresh token of the options, until it was used
	unsaved  bool      // the store could not take what memory has
	notAgain time.Time // no refresh before
	running  sync.WaitGroup
}

// A flight is work on the tokens, which all wait for who need it.
type flight struct {
	done    chan struct{}
	forced  bool // it is a login that was asked for
	waiters int
	abandon func() // ends a login for which nobody waits any more
	stop    func() // ends everything
	token   string
	err     error
}

// errAbandoned is how a login ends for which nobody waits.
var errAbandoned = errors.New("oauth: nobody waits for the login any more")

// errNotBack is how a flight ends in which a function of the options ended the
// goroutine.
var errNotBack = errors.New("oauth: ShowCode, OpenBrowser, Store or Transport of the options did not return")

// New returns a client for the server at a URL, which is that of the RPC client:
// https, or http on this machine. It asks nobody anything.
func New(server string, opts Options) (*Client, error) {
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	if opts, err = opts.withDefaults(); err != nil {
		return nil, err
	}
	c := &Client{opts: opts, server: u, seed: opts.RefreshToken, key: Key{Resource: serverKey(u), Issuer: opts.Issuer, Client: opts.ClientID}}
	rt := opts.Transport
	if rt == nil {
		c.own = http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http says what it is
		rt = c.own
	}
	c.http = &http.Client{
		Transport: rt, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close ends a login in progress and waits for it. Closing again does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.flight != nil {
		c.flight.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// Token returns the token to send: the one that is known, refreshed 45 seconds
// before its end. It never signs a person in, and returns "" where that would be
// needed; an error is an issuer's that cannot be reached or refuses a refresh.
func (c *Client) Token(ctx context.Context) (string, error) {
	if r := c.current.Load(); c.loaded.Load() && (r == nil && c.idle() || r.fresh(time.Now())) {
		return r.bearer(), nil
	}
	return c.settle(ctx, want{})
}

// idle reports whether nothing is in the air that could bring a token.
func (c *Client) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flight == nil && c.seed == ""
}

// Renew refreshes the token that a server refused, and signs in where that is
// not possible and the options allow it. It lets a refusal stand that another
// token would not change.
func (c *Client) Renew(ctx context.Context, refused string, answer http.Header) (string, error) {
	switch answer.Get("Vgi-Auth-Reason") {
	case "insufficient_scope", "proxy_required":
		return "", nil
	}
	challenge, ok := bearerChallenge(answer.Values("WWW-Authenticate"))
	if !ok && refused == "" && c.opts.Issuer == "" {
		return "", nil // it is not tokens that the server wants
	}
	if futile(c.current.Load(), refused) {
		return "", nil
	}
	canLogin := challenge.Params["resource_metadata"] != "" || c.opts.Issuer != ""
	return c.settle(ctx, want{refusal: true, refused: refused, challenge: challenge, login: canLogin && c.canLogin()})
}

// futile reports whether a refused token is so new that the next one would be
// refused as well.
func futile(r *Record, refused string) bool {
	return refused != "" && r.bearer() == refused && time.Since(r.Obtained) < refusedTwice
}

// canLogin reports whether the options have a way to sign in.
func (c *Client) canLogin() bool {
	return c.opts.Flow != Auto || c.opts.ShowCode != nil || c.opts.OpenBrowser != nil
}

// Login signs in now, whatever is stored, and stores what it brings.
func (c *Client) Login(ctx context.Context) error {
	if !c.canLogin() {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: no way to sign in: set Options.OpenBrowser or Options.ShowCode")
	}
	_, err := c.settle(ctx, want{login: true, force: true})
	return err
}

// Logout forgets the tokens, here and in the store, and Options.RefreshToken with
// them, and has the issuer revoke the refresh token (RFC 7009). What the issuer
// says to that is returned when all is forgotten. An Options.RefreshToken that was
// never used is not revoked: nobody has asked yet who its issuer is.
func (c *Client) Logout(ctx context.Context) error {
	unlock, err := c.opts.Store.Lock(ctx, c.key)
	if err != nil {
		return err
	}
	defer unlock()
	known := c.current.Load()
	r, err := c.load(ctx)
	if r == nil && err == nil {
		r = known
	}
	err = errors.Join(err, c.drop(ctx))
	c.loaded.Store(true)
	if err != nil || r == nil || r.RefreshToken == "" || r.RevocationEndpoint == "" {
		return err
	}
	form := url.Values{"token": {r.RefreshToken}, "token_type_hint": {"refresh_token"}}
	return c.post(ctx, "revocation", r.RevocationEndpoint, c.client(r), form, nil)
}

// An Identity is who signed in, as the issuer's ID token says. It is to be shown,
// and decides nothing: the signature is not checked.
type Identity struct{ Issuer, Subject, Email, Name string }

// Identity returns who signed in, and false when nobody did or the issuer does
// not say.
func (c *Client) Identity() (Identity, bool) {
	r := c.current.Load()
	if r == nil {
		return Identity{}, false
	}
	claims, ok := parseIDToken(r.IDToken)
	return Identity{Issuer: claims.Issuer, Subject: claims.Subject, Email: claims.Email, Name: claims.Name}, ok
}

// A want is why a token is needed.
type want struct {
	refusal   bool // a server refused one
	refused   string
	challenge Challenge
	login     bool // signing in is allowed
	force     bool // and demanded
}

// settle joins the work in progress or begins it, and returns the token that it
// brings.
func (c *Client) settle(ctx context.Context, w want) (string, error) {
	for {
		f, mine, err := c.join(ctx, w)
		if err != nil {
			return "", err
		}
		if f == nil {
			return c.current.Load().bearer(), nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			c.leave(f)
			return "", vgirpc.ContextError(ctx)
		}
		switch {
		case errors.Is(f.err, errAbandoned):
			continue
		case mine, w.force && f.forced:
			return f.token, f.err
		case w.force, w.login && f.err == nil && f.token == "":
			continue // it was about less
		case f.err != nil:
			return "", f.err
		case !w.refusal || f.token != w.refused:
			return f.token, nil
		}
	}
}

// join returns the flight in progress, or a new one; nil when there is a token
// already.
func (c *Client) join(ctx context.Context, w want) (f *flight, mine bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the client is closed")
	}
	if c.flight != nil {
		c.flight.waiters++
		return c.flight, false, nil
	}
	if r := c.current.Load(); !w.force && c.loaded.Load() && r.fresh(time.Now()) && (!w.refusal || r.bearer() != w.refused) {
		return nil, false, nil
	}
	// It goes on when the caller that began it leaves: others wait too, and the
	// answer to a refresh may have the only refresh token that is good.
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	patient, abandon := context.WithCancelCause(base)
	f = &flight{done: make(chan struct{}), forced: w.force, waiters: 1}
	f.abandon, f.stop = func() { abandon(errAbandoned) }, func() { stop(errAbandoned) }
	c.flight = f
	c.running.Go(func() {
		defer c.land(f)
		f.err = errNotBack
		f.token, f.err = c.work(base, patient, w)
		if errors.Is(context.Cause(patient), errAbandoned) && f.err != nil {
			f.err = errAbandoned
		}
	})
	return f, true, nil
}

// land ends a flight, and tells those who wait.
func (c *Client) land(f *flight) {
	f.stop()
	c.mu.Lock()
	c.flight = nil
	c.mu.Unlock()
	close(f.done)
}

// leave is for a caller that waits no longer.
func (c *Client) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.abandon()
	}
}

// work brings a token: the stored one, a refreshed one, or that of a login, which
// patient ends. "" is none.
func (c *Client) work(ctx, patient context.Context, w want) (string, error) {
	var d *discovered
	if !w.force {
		var err error
		if d, err = c.suspicion(ctx, w); err != nil {
			return "", err
		}
		token, ok, err := c.refreshed(ctx, w, d)
		if err != nil || ok || !w.login {
			return token, err
		}
	}
	ctx, cancel := context.WithTimeout(patient, c.opts.LoginTimeout)
	defer cancel()
	d, err := c.forLogin(ctx, w, d)
	if err != nil {
		return "", err
	}
	r, err := c.signIn(ctx, d)
	if err != nil {
		return "", err
	}
	c.opts.Logger.InfoContext(ctx, "signed in", "server", c.key.Resource, "login", r)
	unlock, err := c.opts.Store.Lock(ctx, c.key)
	if err != nil {
		return "", err
	}
	defer unlock()
	c.keep(ctx, r)
	if w.force && c.isUnsaved() {
		return "", vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: signed in, and the login cannot be stored: it ends with this process")
	}
	return r.bearer(), nil
}

// forLogin is what a login has to know: what is known already, unless it was found
// out for a record with pins of its own.
func (c *Client) forLogin(ctx context.Context, w want, d *discovered) (*discovered, error) {
	if pinned := c.pins(nil); d == nil || d.pins != pinned {
		return c.discover(ctx, w.challenge, pinned)
	}
	return d, nil
}

// suspicion asks who issues the server's tokens where the server has refused one
// and says whom to ask: it may be another issuer than that of the record. An
// outage of theirs is no reason to drop what there is.
func (c *Client) suspicion(ctx context.Context, w want) (*discovered, error) {
	if !w.refusal || w.refused == "" || w.challenge.Params["resource_metadata"] == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r := c.current.Load()
	if !c.isUnsaved() { // another process may have signed in with other pins
		if stored, err := c.opts.Store.Load(ctx, c.key); err == nil {
			r = stored
		}
	}
	d, err := c.discover(ctx, w.challenge, c.pins(r))
	if vgirpc.CodeOf(err) == vgirpc.Unavailable {
		return nil, nil //nolint:nilnil // as if there were none
	}
	return d, err
}

// refreshed returns the token of the store, refreshed where it has to be. ok says
// that the matter is settled with it.
func (c *Client) refreshed(ctx context.Context, w want, d *discovered) (token string, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	unlock, err := c.opts.Store.Lock(ctx, c.key)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	r, err := c.load(ctx)
	if err != nil {
		return "", false, err
	}
	if seed := c.unusedSeed(); r == nil && seed != "" {
		if r, err = c.seeded(ctx, seed, w, d); err != nil {
			return "", false, err
		}
	}
	// What was found out for other pins is about a login that is gone.
	if r != nil && d != nil && d.pins == c.pins(r) && !c.announces(d, r) {
		c.opts.Logger.InfoContext(ctx, "the server has another issuer: the login is dropped", "server", c.key.Resource, "login", r)
		return "", false, c.drop(ctx)
	}
	now := time.Now()
	refused := w.refusal && r.bearer() == w.refused
	switch {
	case r == nil:
		return "", false, nil
	case r.fresh(now) && !refused:
		return r.bearer(), true, nil
	case refused && futile(r, w.refused):
		return "", true, nil
	case r.valid(now) && !refused && now.Before(c.pausedUntil()):
		return r.bearer(), true, nil
	}
	return c.refresh(ctx, r, refused)
}

// load returns the record that counts: the store's, which another process may
// have replaced or removed.
func (c *Client) load(ctx context.Context) (*Record, error) {
	if c.isUnsaved() {
		return c.current.Load(), nil
	}
	r, err := c.opts.Store.Load(ctx, c.key)
	if errors.Is(err, ErrNoRecord) {
		r, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.current.Store(r)
	c.loaded.Store(true)
	return r, nil
}

// seeded is the record of the refresh token in the options.
func (c *Client) seeded(ctx context.Context, seed string, w want, d *discovered) (*Record, error) {
	d, err := c.forLogin(ctx, w, d)
	if err != nil {
		return nil, err
	}
	r := c.record(d, c.ordinaryClient(d))
	r.RefreshToken = seed
	return r, nil
}

// refresh replaces the token of a record that is old or was refused.
func (c *Client) refresh(ctx context.Context, r *Record, refused bool) (token string, ok bool, err error) {
	usable := !refused && r.valid(time.Now())
	next := *r
	var form url.Values
	switch {
	case c.opts.Flow == ClientCredentials:
		form = c.credentialsForm(r.Scope)
	case r.RefreshToken != "":
		form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken}}
		if r.Scope != "" {
			form.Set("scope", r.Scope)
		}
	case usable:
		return r.bearer(), true, nil
	default:
		return "", false, nil
	}
	var answer tokenResponse
	err = c.post(ctx, "refresh", r.TokenEndpoint, c.client(r), form, &answer)
	if err == nil {
		if err = next.fill(&answer, time.Now()); err == nil {
			c.keep(ctx, &next)
			return next.bearer(), true, nil
		}
	}
	c.opts.Logger.InfoContext(ctx, "the token cannot be refreshed", "server", c.key.Resource, "error", err)
	if codeOf(err) == codeInvalidGrant {
		next.RefreshToken = ""
		if !usable {
			return "", false, c.drop(ctx)
		}
		c.keep(ctx, &next)
		return next.bearer(), true, nil
	}
	if usable {
		c.pause()
		return r.bearer(), true, nil
	}
	return "", false, err
}

// keep makes a record the current one, and stores it. A store that cannot take it
// does not end the login, which goes on in memory. The store is locked.
func (c *Client) keep(ctx context.Context, r *Record) {
	err := c.opts.Store.Save(ctx, c.key, r)
	if err != nil {
		c.opts.Logger.WarnContext(ctx, "the login cannot be stored, and ends with this process", "server", c.key.Resource, "error", err)
	}
	c.current.Store(r)
	c.loaded.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsaved, c.notAgain, c.seed = err != nil, time.Time{}, ""
}

// drop forgets the current record, here and in the store, which is locked.
func (c *Client) drop(ctx context.Context) error {
	c.current.Store(nil)
	c.mu.Lock()
	c.unsaved, c.seed = false, ""
	c.mu.Unlock()
	return c.opts.Store.Delete(ctx, c.key)
}

func (c *Client) isUnsaved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unsaved
}

func (c *Client) unusedSeed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seed
}

func (c *Client) pausedUntil() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notAgain
}

func (c *Client) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notAgain = time.Now().Add(refreshPause)
}
