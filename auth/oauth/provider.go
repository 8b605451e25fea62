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
	freshFor      = time.Hour        // how long what an issuer says of itself is believed
	retryUnknown  = time.Second      // between questions to one that has never answered
	retryKnown    = 30 * time.Second // and to one that has
	maxBody       = 1 << 20          // bytes of an answer
	discoveryPath = "/.well-known/openid-configuration"
)

// provider is the authorization server at which people sign in, as it describes
// itself (OpenID Connect Discovery 1.0 section 3).
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
	checkURL         func(string) error
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

// fetch asks.
func (d *discovery) fetch(ctx context.Context) (*provider, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(d.issuer, "/")+discoveryPath, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // nothing is left to lose
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("discovery: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var doc struct {
		oidc.ProviderConfig
		NamesIssuer bool   `json:"authorization_response_iss_parameter_supported"`
		EndSession  string `json:"end_session_endpoint"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("discovery: the document is not the JSON that it should be")
	}
	if doc.IssuerURL != d.issuer {
		return nil, errors.New("discovery: the document is that of another issuer")
	}
	for _, at := range []string{doc.AuthURL, doc.TokenURL, doc.JWKSURL, doc.EndSession} {
		if err := d.checkEndpoint(at); err != nil {
			return nil, err
		}
	}
	if doc.AuthURL == "" || doc.TokenURL == "" {
		return nil, errors.New("discovery: the document lacks an authorization or a token endpoint")
	}
	return &provider{
		authURL: doc.AuthURL, tokenURL: doc.TokenURL, endSession: doc.EndSession, namesIssuer: doc.NamesIssuer,
		verifier: d.verifier(doc.ProviderConfig), fetched: d.now(),
	}, nil
}

// checkEndpoint holds endpoints to what is demanded of the issuer. They may have
// a query (RFC 6749 section 3.1).
func (d *discovery) checkEndpoint(s string) error {
	if s == "" {
		return nil
	}
	at, _, _ := strings.Cut(s, "?")
	if err := d.checkURL(at); err != nil {
		return fmt.Errorf("discovery: endpoint: %w", err)
	}
	if _, err := url.Parse(s); err != nil {
		return errors.New("discovery: an endpoint is no URL")
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
