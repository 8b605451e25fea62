package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxDocument bounds what an issuer answers, in bytes.
const maxDocument = 1 << 20

// fetcher gets the keys of one issuer. Only one goroutine uses it.
type fetcher struct {
	client     *http.Client
	issuer     Issuer
	algorithms []string
	allowHTTP  bool
	jwksURL    string // "" until it is discovered
}

// newClient is a client that keeps no cookies and follows no redirects: where
// keys come from is configured, or named by the issuer itself. It also returns
// what gives its connections up.
func newClient(given *http.Client) (*http.Client, func()) {
	client := http.Client{}
	release := func() {}
	if given != nil {
		client = *given
	} else {
		transport, ok := http.DefaultTransport.(*http.Transport)
		if !ok { // somebody has replaced it
			transport = &http.Transport{Proxy: http.ProxyFromEnvironment}
		}
		transport = transport.Clone()
		client.Transport, release = transport, transport.CloseIdleConnections
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client, release
}

// keys fetches the issuer's keys, and first where they are if that is not known
// or discover says to look again.
func (f *fetcher) keys(ctx context.Context, discover bool) (*keySet, error) {
	if f.issuer.JWKSURL != "" {
		f.jwksURL = f.issuer.JWKSURL
	} else if discover || f.jwksURL == "" {
		at, err := f.discover(ctx)
		if err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		f.jwksURL = at
	}
	text, err := f.get(ctx, f.jwksURL)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	set, err := parseKeySet(text, f.algorithms)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return set, nil
}

// discover asks the issuer where its keys are (OpenID Connect Discovery 1.0
// section 4).
func (f *fetcher) discover(ctx context.Context) (string, error) {
	text, err := f.get(ctx, f.issuer.discoveryURL())
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal(text, &doc) != nil {
		return "", errors.New("no OpenID configuration")
	}
	if doc.Issuer != f.issuer.Name { // section 4.3
		return "", errors.New("the configuration is another issuer's")
	}
	return doc.JWKSURI, checkURL(doc.JWKSURI, f.allowHTTP)
}

func (f *fetcher) get(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, errors.New("no URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL, whose query may hold a secret
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is not wanted
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("an answer of more than %d bytes", maxDocument)
	}
	return text, nil
}
