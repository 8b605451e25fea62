package jwt

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer is one who may issue tokens, and where its keys are. Without JWKSURL,
// JWKS and Secret they are found by OpenID Connect Discovery; at most one of the
// three may be set.
type Issuer struct {
	// Name is the issuer as its tokens have it in "iss", to the character.
	Name string
	// DiscoveryURL is where the issuer describes itself;
	// Name + "/.well-known/openid-configuration" when empty. What is found there
	// must name the issuer Name.
	DiscoveryURL string
	// JWKSURL is where the issuer's JSON Web Key Set is.
	JWKSURL string
	// JWKS is the key set itself, as JSON. It never changes.
	JWKS []byte
	// Secret is a key that the issuer shares with this service, of at least 32
	// bytes, for the HS algorithms that [Options] then has to name. Whoever
	// knows it can issue tokens.
	Secret []byte
	// Domain is the identity's domain; Name when empty.
	Domain string
}

// Options configure [New]. Issuers and Audiences have no default.
type Options struct {
	Issuers []Issuer // any of them
	// Audiences are this service's names in "aud": a token must be for one of
	// them, and may be for others as well.
	Audiences []string
	// SingleAudience refuses tokens that name several audiences, each of whom
	// could present them to the others.
	SingleAudience bool
	// Algorithms are the only ones that a signature may have; those of RSA,
	// ECDSA (ES) and EdDSA when empty. An HS algorithm needs an issuer with a
	// Secret, and is accepted from such issuers alone. "none" is never accepted.
	Algorithms []string
	// Types are what the header "typ" may say, in any case and with or without
	// "application/"; "" stands for a token that has none. JWT, at+jwt (RFC 9068)
	// and "" when empty, which keeps out tokens that were issued for something
	// else, as logout tokens are.
	Types []string
	// Leeway is how far the clocks of an issuer and of this service may be
	// apart, at most 10 min; 30 s when zero, none when negative.
	Leeway time.Duration
	// MaxTokenBytes bounds a token; 16 KiB when zero.
	MaxTokenBytes int

	// PrincipalClaim is the claim that names the caller, a string; "sub" when
	// empty.
	PrincipalClaim string
	// Claims are the names of the claims that the identity carries; "*" for all.
	// When nil: iss, sub, aud, exp, iat, auth_time, azp, client_id, scope, scp.
	Claims []string
	// RequiredScopes must all be in the token's "scope" (separated by spaces,
	// RFC 8693) or "scp" (likewise, or a list).
	RequiredScopes []string
	// RequiredClaims must all be in the token: as one of the strings that stand
	// here, or as a list that holds one of them; with none, as anything.
	RequiredClaims map[string][]string

	// RefreshInterval is how old fetched keys become before they are fetched
	// again; 15 min when zero.
	RefreshInterval time.Duration
	// RefreshTimeout is how long fetching the keys of an issuer may take, with
	// discovery; 5 s when zero.
	RefreshTimeout time.Duration
	// MaxStale is how long keys are used whose issuer cannot be reached, and
	// longer than RefreshInterval; forever when zero. Then tokens of the issuer
	// get an [auth.Unavailable].
	MaxStale time.Duration
	// UnknownKeyBurst is how many fetches tokens with unknown keys may cause at
	// once, and UnknownKeyInterval is how often another one may follow: 5, and
	// 2 s, when zero. Beyond that such tokens wait for the next one together.
	UnknownKeyBurst    int
	UnknownKeyInterval time.Duration
	// HTTPClient fetches. Redirects are never followed and cookies never kept.
	// One with the proxies of the environment when nil.
	HTTPClient *http.Client
	// AllowHTTP lets URLs be http: whoever is on the way can then issue tokens.
	AllowHTTP bool
	// Logger hears of fetches that failed, and when they succeed again; nobody
	// does when nil.
	Logger *slog.Logger
}

const (
	defaultLeeway          = 30 * time.Second
	maxLeeway              = 10 * time.Minute
	defaultMaxTokenBytes   = 16 << 10
	defaultRefreshInterval = 15 * time.Minute
	defaultRefreshTimeout  = 5 * time.Second
	defaultUnknownBurst    = 5
	defaultUnknownInterval = 2 * time.Second
	minSecretBytes         = 32
)

// The algorithms that may be pinned, but for those with a shared secret.
var asymmetric = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

var (
	defaultTypes  = []string{"JWT", "at+jwt", ""}
	defaultClaims = []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "azp", "client_id", "scope", "scp"}
)

// complete checks the options and puts the defaults in.
func (o Options) complete() (Options, error) {
	if err := o.check(); err != nil {
		return Options{}, err
	}
	if len(o.Algorithms) == 0 {
		o.Algorithms = asymmetric
	}
	if len(o.Types) == 0 {
		o.Types = defaultTypes
	}
	if o.Claims == nil {
		o.Claims = defaultClaims
	}
	if o.PrincipalClaim == "" {
		o.PrincipalClaim = "sub"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.Leeway, defaultLeeway)
	o.Leeway = max(o.Leeway, 0)
	setDefault(&o.MaxTokenBytes, defaultMaxTokenBytes)
	setDefault(&o.RefreshInterval, defaultRefreshInterval)
	setDefault(&o.RefreshTimeout, defaultRefreshTimeout)
	setDefault(&o.UnknownKeyBurst, defaultUnknownBurst)
	setDefault(&o.UnknownKeyInterval, defaultUnknownInterval)
	if o.MaxStale != 0 && o.MaxStale <= o.RefreshInterval {
		return Options{}, fmt.Errorf("keys that may be %s old cannot be refreshed every %s", o.MaxStale, o.RefreshInterval)
	}
	return o, o.checkIssuers()
}

func setDefault[T int | time.Duration](value *T, to T) {
	if *value == 0 {
		*value = to
	}
}

// check refuses what is wrong whatever the issuers are.
func (o Options) check() error {
	switch {
	case len(o.Issuers) == 0:
		return errors.New("no issuers")
	case len(o.Audiences) == 0:
		return errors.New("no audiences: any token of an issuer would do, whoever it was issued for")
	case slices.Contains(o.Audiences, ""):
		return errors.New("an empty audience")
	case o.Leeway > maxLeeway:
		return fmt.Errorf("a leeway of %s is more than %s", o.Leeway, maxLeeway)
	case min(o.RefreshInterval, o.RefreshTimeout, o.MaxStale, o.UnknownKeyInterval) < 0:
		return errors.New("a negative time")
	case o.MaxTokenBytes < 0 || o.UnknownKeyBurst < 0:
		return errors.New("a negative number")
	}
	for _, a := range o.Algorithms {
		switch {
		case strings.EqualFold(a, "none"):
			return errors.New(`the algorithm "none" is no signature`)
		case !slices.Contains(asymmetric, a) && !isShared(a):
			return fmt.Errorf("an unknown algorithm %q", a)
		}
	}
	return nil
}

// isShared reports whether an algorithm is one with a shared secret.
func isShared(algorithm string) bool {
	_, ok := jwt.GetSigningMethod(algorithm).(*jwt.SigningMethodHMAC)
	return ok
}

func (o Options) checkIssuers() error {
	shared := slices.ContainsFunc(o.Algorithms, isShared)
	names := map[string]bool{}
	for _, i := range o.Issuers {
		if i.Name == "" {
			return errors.New("an issuer without a name")
		}
		if names[i.Name] {
			return fmt.Errorf("the issuer %q appears twice", i.Name)
		}
		names[i.Name] = true
		if err := o.checkIssuer(i); err != nil {
			return fmt.Errorf("issuer %q: %w", i.Name, err)
		}
	}
	if shared && !slices.ContainsFunc(o.Issuers, func(i Issuer) bool { return i.Secret != nil }) {
		return errors.New("an algorithm with a shared secret is named, and no issuer has one")
	}
	return nil
}

func (o Options) checkIssuer(i Issuer) error {
	sources := 0
	for _, set := range []bool{i.DiscoveryURL != "", i.JWKSURL != "", i.JWKS != nil, i.Secret != nil} {
		if set {
			sources++
		}
	}
	switch {
	case sources > 1:
		return errors.New("keys from more than one place")
	case i.Secret != nil && len(i.Secret) < minSecretBytes:
		return fmt.Errorf("a secret of less than %d bytes", minSecretBytes)
	case i.Secret != nil && !slices.ContainsFunc(o.Algorithms, isShared):
		return errors.New("a shared secret, and no algorithm for it is named")
	case i.Secret == nil && !slices.ContainsFunc(o.Algorithms, func(a string) bool { return !isShared(a) }):
		return errors.New("no secret, and only algorithms with a shared secret are named")
	case i.JWKS != nil || i.Secret != nil:
		return nil
	}
	at := i.discoveryURL()
	if i.JWKSURL != "" {
		at = i.JWKSURL
	}
	return checkURL(at, o.AllowHTTP)
}

// discoveryURL is where the issuer describes itself (OpenID Connect Discovery
// 1.0 section 4).
func (i Issuer) discoveryURL() string {
	if i.DiscoveryURL != "" {
		return i.DiscoveryURL
	}
	return strings.TrimSuffix(i.Name, "/") + "/.well-known/openid-configuration"
}

// checkURL refuses to get keys from where anybody could have put them.
func checkURL(s string, allowHTTP bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return errors.New("keys cannot be fetched: no absolute URL")
	case u.Scheme == "https", u.Scheme == "http" && allowHTTP:
		return nil
	case u.Scheme == "http":
		return errors.New("keys would be fetched over http, which has to be allowed")
	}
	return fmt.Errorf("keys cannot be fetched from a URL with scheme %q", u.Scheme)
}
