package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Authenticator accepts tokens. It is an [auth.Authenticator].
type Authenticator struct {
	opts      Options
	parser    *jwt.Parser
	validator *jwt.Validator
	issuers   map[string]*issuer
	cache     cache

	stop    context.CancelFunc
	running sync.WaitGroup
	release func() // gives idle connections up
}

// issuer is an issuer and its keys: one of the three.
type issuer struct {
	domain string
	secret []byte
	static *keySet
	remote *remote
}

// keys are those that the issuer's tokens are verified with now; nil when it has
// a secret, or none that may be used.
func (i *issuer) keys() *keySet {
	if i.remote != nil {
		return i.remote.usable()
	}
	return i.static
}

// New returns an authenticator, and begins to fetch keys until Close. It waits
// for the first answer of each issuer, good or bad: one that is down makes its
// tokens [auth.Unavailable] until it is up, and is no error. It is an error when
// the options are wrong and when ctx ends before.
func New(ctx context.Context, opts Options) (*Authenticator, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	checks := []jwt.ParserOption{
		jwt.WithValidMethods(opts.Algorithms), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(opts.Leeway), jwt.WithAudience(opts.Audiences...),
	}
	a := &Authenticator{
		opts: opts, parser: jwt.NewParser(checks...), validator: jwt.NewValidator(checks...), issuers: map[string]*issuer{},
		cache: cache{tokens: map[[sha256.Size]byte]*verified{}},
	}
	for _, i := range opts.Issuers {
		if a.issuers[i.Name], err = a.newIssuer(i); err != nil {
			return nil, fmt.Errorf("jwt: issuer %q: %w", i.Name, err)
		}
	}
	if err := a.start(ctx); err != nil {
		return nil, fmt.Errorf("jwt: the first keys: %w", err)
	}
	return a, nil
}

func (a *Authenticator) newIssuer(i Issuer) (*issuer, error) {
	out := &issuer{domain: i.Domain, secret: slices.Clone(i.Secret)}
	if out.domain == "" {
		out.domain = i.Name
	}
	if i.JWKS == nil {
		return out, nil
	}
	var err error
	out.static, err = parseKeySet(i.JWKS, a.opts.Algorithms)
	return out, err
}

// start fetches the keys of the issuers that have none of their own.
func (a *Authenticator) start(ctx context.Context) error {
	client, release := newClient(a.opts.HTTPClient)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop, a.release = stop, release
	var remotes []*remote
	for _, i := range a.opts.Issuers {
		own := a.issuers[i.Name]
		if own.secret != nil || own.static != nil {
			continue
		}
		f := &fetcher{client: client, issuer: i, algorithms: a.opts.Algorithms, allowHTTP: a.opts.AllowHTTP}
		own.remote = newRemote(&a.opts, a.opts.Logger.With(slog.String("issuer", i.Name)), f.keys)
		remotes = append(remotes, own.remote)
		a.running.Go(func() { own.remote.run(background) })
	}
	for _, m := range remotes {
		select {
		case <-m.first:
		case <-ctx.Done():
			a.Close()
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close stops fetching and returns when nothing runs any more. Tokens whose keys
// are known are accepted still; the others are [auth.Unavailable].
func (a *Authenticator) Close() {
	a.stop()
	a.running.Wait()
	a.release()
}

// Ready is nil when the keys of every issuer are there, and otherwise says whose
// are not.
func (a *Authenticator) Ready() error {
	var errs []error
	for _, i := range a.opts.Issuers {
		if m := a.issuers[i.Name].remote; m != nil {
			if err := m.ready(); err != nil {
				errs = append(errs, fmt.Errorf("jwt: issuer %q: %w", i.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Authenticate names the caller by the request's bearer token. The identity's
// domain is the issuer, and its claims are those that the options name; whole
// numbers in them are int64.
//
// It fails with [auth.MissingCredential] without an Authorization header, with
// [auth.ExpiredCredential] when nothing but the time is wrong, with
// [auth.InsufficientScope] when a required scope or claim is missing, and with
// [auth.InvalidCredential] otherwise; with [auth.Unavailable] when the token's
// key is not known and its issuer cannot be asked.
func (a *Authenticator) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	text, err := auth.TokenOf(r)
	if err == nil && len(text) > a.opts.MaxTokenBytes {
		err = refuse("the token is too long")
	}
	if err != nil {
		return vgirpc.Identity{}, err
	}
	digest := sha256.Sum256([]byte(text))
	if id, ok := a.cache.find(digest, time.Now()); ok {
		return id, nil
	}
	v, err := a.verify(r.Context(), text)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	a.cache.put(digest, v)
	return v.identity.Clone(), nil
}

// verify checks a token.
func (a *Authenticator) verify(ctx context.Context, text string) (*verified, error) {
	if err := a.checkHeader(text); err != nil {
		return nil, err
	}
	var (
		c claims
		v verified
	)
	_, err := a.parser.ParseWithClaims(text, &c, func(token *jwt.Token) (any, error) {
		name, err := c.GetIssuer()
		if err != nil {
			return nil, refuse("the token's issuer is no string")
		}
		if v.from = a.issuers[name]; v.from == nil {
			return nil, refuse("the token's issuer is none of those configured")
		}
		var key any
		key, v.keys, err = a.keyOf(ctx, v.from, token, &c)
		return key, err
	})
	if err != nil {
		return nil, classify(err)
	}
	if v.identity, err = a.identify(&c, v.from.domain); err != nil {
		return nil, err
	}
	expires, err := c.GetExpirationTime()
	if err != nil {
		return nil, classifyClaims(err)
	}
	v.until = expires.Add(a.opts.Leeway)
	return &v, nil
}

// refuse is a refusal whose words are for logs on this side.
func refuse(why string) *auth.Failure {
	return &auth.Failure{Reason: auth.InvalidCredential, Err: errors.New(why)}
}

// checkHeader refuses a token for what its header says, before a key is looked
// for: RFC 7515 section 4, RFC 8725 section 3. Keys and where they are (jwk,
// jku, x5c, x5u) may stand in it, and nobody looks.
func (a *Authenticator) checkHeader(token string) error {
	segment, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return refuse("the token's header is not base64url")
	}
	header, err := decodeObject(text)
	if err != nil {
		return refuse("the token's header is " + err.Error())
	}
	for name, why := range map[string]string{
		"crit": "the token has extensions that must be understood",
		"b64":  "the token's payload is not encoded",
		"zip":  "the token is compressed",
		"enc":  "the token is encrypted",
	} {
		if _, ok := header[name]; ok {
			return refuse(why)
		}
	}
	if alg, ok := header["alg"].(string); !ok || !slices.Contains(a.opts.Algorithms, alg) {
		return refuse("the token's algorithm is none of those pinned")
	}
	if kid, has := header["kid"]; has {
		if text, ok := kid.(string); !ok || len(text) > 1024 {
			return refuse("the token's key id is of no use")
		}
	}
	value, has := header["typ"]
	typ, ok := value.(string)
	if has && (!ok || typ == "") || !a.takesType(typ) {
		return refuse("the token is of another type")
	}
	return nil
}

// takesType compares types as media types (RFC 7515 section 4.1.9).
func (a *Authenticator) takesType(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return slices.ContainsFunc(a.opts.Types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// keyOf is the key that the token has to be signed with, and the set that it is
// from.
func (a *Authenticator) keyOf(ctx context.Context, from *issuer, token *jwt.Token, c *claims) (any, *keySet, error) {
	if shared := isShared(token.Method.Alg()); shared != (from.secret != nil) {
		return nil, nil, refuse("the token's algorithm is none of its issuer's")
	}
	var (
		key any
		err error
		set = from.static
	)
	switch {
	case from.secret != nil:
		return from.secret, nil, nil
	case set != nil:
		key, err = set.key(ctx, token)
	default:
		key, set, err = from.remote.key(ctx, token, func() error {
			if err := a.validator.Validate(c); err != nil {
				return classifyClaims(err)
			}
			return nil
		})
	}
	if errors.Is(err, errNoKey) || errors.Is(err, errWrongKey) || errors.Is(err, errAmbiguous) {
		return nil, nil, refuse(err.Error())
	}
	return key, set, err
}

// classify makes one of our errors of what the parser says, whose words may hold
// what the token says.
func classify(err error) error {
	if outage, ok := errors.AsType[*auth.Unavailable](err); ok {
		return outage
	}
	if failure, ok := errors.AsType[*auth.Failure](err); ok {
		return failure
	}
	switch {
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return classifyClaims(err)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refuse("the token's signature is bad")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return refuse("no JSON Web Token")
	}
	return refuse("the token cannot be verified")
}

// classifyClaims tells a token that only has to be renewed from a bad one.
func classifyClaims(err error) *auth.Failure {
	switch {
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return refuse("the token is for another audience")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refuse("the token lacks a claim that it needs")
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return refuse("the token was issued in the future")
	case errors.Is(err, jwt.ErrInvalidType):
		return refuse("a claim of the token is of another type")
	case errors.Is(err, jwt.ErrTokenExpired):
		return &auth.Failure{Reason: auth.ExpiredCredential, Err: errors.New("the token has expired")}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return &auth.Failure{Reason: auth.ExpiredCredential, Err: errors.New("the token is not valid yet")}
	}
	return refuse("the token's claims are bad")
}

// identify makes an identity of a token that is good.
func (a *Authenticator) identify(c *claims, domain string) (vgirpc.Identity, error) {
	if audiences, _ := c.GetAudience(); a.opts.SingleAudience && len(audiences) != 1 {
		return vgirpc.Identity{}, refuse("the token is for several audiences")
	}
	principal, ok := c.principal(a.opts.PrincipalClaim)
	if !ok {
		return vgirpc.Identity{}, refuse("the token names no principal")
	}
	if !c.hasScopes(a.opts.RequiredScopes) {
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.InsufficientScope, Err: errors.New("the token lacks a scope")}
	}
	for name, values := range a.opts.RequiredClaims {
		if !c.has(name, values) {
			return vgirpc.Identity{}, &auth.Failure{Reason: auth.InsufficientScope, Err: errors.New("the token lacks a required claim")}
		}
	}
	return vgirpc.Identity{
		Principal: principal, Domain: domain, Authenticated: true, Claims: c.only(a.opts.Claims),
	}, nil
}
