package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	freshFor     = time.Hour        // how long what an issuer says of itself is believed
	retryUnknown = time.Second      // between questions to one that has never answered
	retryKnown   = 30 * time.Second // and to one that has
	maxBody      = 1 << 20          // bytes of an answer

	discoveryPath = "/.well-known/openid-configuration"       // behind an issuer
	rfc8414Path   = "/.well-known/oauth-authorization-server" // between its origin and its path
)

// provider is the authorization server at which people sign in, as it describes
// itself (OpenID Connect Discovery 1.0 section 3, or RFC 8414 section 2).
type provider struct {
	authURL, tokenURL, endSession string
	namesIssuer                   bool // in its answers (RFC 9207 section 3)
	verifier                      *oidc.IDTokenVerifier
	fetched                       time.Time
}

// discovery finds the provider when it is first needed, and again from time to
// time. A failure is remembered only as long as it takes to keep a crowd from
// asking together.
type discovery struct {
	issuer, clientID string
	client           *http.Client
	timeout          time.Duration
	faultOf          func(string) error
	log              *slog.Logger
	now              func() time.Time

	turn chan struct{} // who holds it asks; the others wait for the answer

	mu      sync.Mutex
	current *provider // nil: not known yet
	failed  time.Time // when the last question was not answered; zero otherwise
}

// known is the provider as far as it need not be asked for now. done is false
// when it has to be.
func (d *discovery) known() (p *provider, done bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	switch {
	case d.current != nil && (now.Sub(d.current.fetched) < freshFor || now.Sub(d.failed) < retryKnown):
		return d.current, true, nil
	case d.current == nil && now.Sub(d.failed) < retryUnknown:
		return nil, true, errors.New("the authorization server did not answer a moment ago")
	}
	return nil, false, nil
}

// get returns the provider. The error says why it cannot be had, and holds
// nothing of what the other side sent.
func (d *discovery) get(ctx context.Context) (*provider, error) {
	if p, done, err := d.known(); done {
		return p, err
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-d.turn }()
	if p, done, err := d.known(); done { // somebody else asked meanwhile
		return p, err
	}
	// The answer is for everybody: it is not given up with one of them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
	defer cancel()
	p, err := d.fetch(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = d.now()
		d.log.WarnContext(ctx, "the authorization server cannot be asked about itself", "issuer", d.issuer, "error", err)
		if d.current != nil {
			return d.current, nil
		}
		return nil, err
	}
	d.current, d.failed = p, time.Time{}
	return p, nil
}

// description is what an authorization server says of itself.
type description struct {
	oidc.ProviderConfig

	NamesIssuer bool   `json:"authorization_response_iss_parameter_supported"`
	EndSession  string `json:"end_session_endpoint"`
}

// fetch asks at the place of OpenID Connect, and when there is nothing at that of
// RFC 8414 section 3.1 (and section 5).
func (d *discovery) fetch(ctx context.Context) (*provider, error) {
	places, err := d.places()
	if err != nil {
		return nil, err
	}
	var (
		doc     *description
		nowhere []error
	)
	for _, at := range places {
		if doc, err = d.ask(ctx, at); err == nil {
			return d.provider(at, doc)
		}
		if !errors.Is(err, errNothingThere) {
			return nil, err
		}
		nowhere = append(nowhere, err)
	}
	return nil, errors.Join(nowhere...)
}

// places are where an issuer's document may be.
func (d *discovery) places() ([]string, error) {
	u, err := url.Parse(d.issuer)
	if err != nil {
		return nil, errors.New("discovery: the issuer is no URL")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	return []string{origin + path + discoveryPath, origin + rfc8414Path + path}, nil
}

var errNothingThere = fmt.Errorf("status %d", http.StatusNotFound)

// ask gets a document.
func (d *discovery) ask(ctx context.Context, at string) (*description, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // nothing is left to lose
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("discovery: %s: %w", at, errNothingThere)
	default:
		return nil, fmt.Errorf("discovery: %s: status %d", at, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", at, err)
	}
	doc := new(description)
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, fmt.Errorf("discovery: %s: the document is not the JSON that it should be", at)
	}
	return doc, nil
}

// provider is the one that a document describes, when it is the issuer's own and
// whole.
func (d *discovery) provider(at string, doc *description) (*provider, error) {
	switch {
	case doc.IssuerURL == d.issuer:
	case strings.TrimSuffix(doc.IssuerURL, "/") == strings.TrimSuffix(d.issuer, "/"):
		return nil, fmt.Errorf("discovery: %s: the document's issuer and the one that is configured differ in the slash at the end: "+
			"configure it to the character", at)
	default:
		return nil, fmt.Errorf("discovery: %s: the document is that of another issuer", at)
	}
	for _, endpoint := range [...]struct {
		name, url string
		needed    bool
	}{
		{"authorization_endpoint", doc.AuthURL, true},
		{"token_endpoint", doc.TokenURL, true},
		{"jwks_uri", doc.JWKSURL, false},
		{"end_session_endpoint", doc.EndSession, false},
	} {
		if endpoint.url == "" && endpoint.needed {
			return nil, fmt.Errorf("discovery: %s: the document lacks %s", at, endpoint.name)
		}
		if err := d.checkEndpoint(endpoint.url); err != nil {
			return nil, fmt.Errorf("discovery: %s: %s: %w", at, endpoint.name, err)
		}
	}
	return &provider{
		authURL: doc.AuthURL, tokenURL: doc.TokenURL, endSession: doc.EndSession, namesIssuer: doc.NamesIssuer,
		verifier: d.verifier(doc.ProviderConfig), fetched: d.now(),
	}, nil
}

// checkEndpoint holds endpoints to what is demanded of the issuer. They may have
// a query (RFC 6749 section 3.1). The error is for logs, and does not hold what
// the other side sent.
func (d *discovery) checkEndpoint(s string) error {
	if s == "" {
		return nil
	}
	at, _, _ := strings.Cut(s, "?")
	if err := d.faultOf(at); err != nil {
		return err
	}
	if _, err := url.Parse(s); err != nil {
		return errors.New("want a URL")
	}
	return nil
}

// verifier checks id_tokens; nil for a provider without keys. It gets the keys
// when they are first needed, and again for a key that it does not know.
func (d *discovery) verifier(config oidc.ProviderConfig) *oidc.IDTokenVerifier {
	if config.JWKSURL == "" {
		return nil
	}
	algorithms := slices.DeleteFunc(slices.Clone(config.Algorithms), func(a string) bool {
		return !slices.Contains(asymmetric, a)
	})
	config.Algorithms = algorithms
	ctx := oidc.ClientContext(context.Background(), d.client)
	return config.NewProvider(ctx).VerifierContext(ctx, &oidc.Config{
		ClientID: d.clientID, SupportedSigningAlgs: algorithms, Now: d.now,
	})
}

// asymmetric are the algorithms that a signature may have. Without any of them
// among those that a provider names, RS256 stands, which all have.
var asymmetric = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// newClient returns a client that asks whom it was told to ask and nobody else,
// and does not read without end.
func newClient(given *http.Client, timeout time.Duration) *http.Client {
	client := &http.Client{}
	if given != nil {
		*client = *given
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if client.Timeout == 0 || client.Timeout > timeout {
		client.Timeout = timeout
	}
	inner := client.Transport
	if inner == nil {
		inner = http.DefaultTransport
	}
	client.Transport = limited{inner}
	return client
}

// limited is a transport whose answers have a limit.
type limited struct{ inner http.RoundTripper }

// RoundTrip asks, and bounds the answer.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.inner.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	return resp, err
}
