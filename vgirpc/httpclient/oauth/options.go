package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A Flow is how tokens are obtained.
type Flow int

const (
	// Auto signs a person in: with a browser of this machine where
	// Options.OpenBrowser is set and the issuer has that flow, or else with a
	// device code where Options.ShowCode is set. With neither it uses what is
	// stored, and refreshes it.
	Auto Flow = iota
	// Device signs a person in with a code that is entered on any device (RFC
	// 8628).
	Device
	// Browser signs a person in with a browser of this machine, which comes back
	// to a port of loopback (RFC 8252, with PKCE).
	Browser
	// ClientCredentials signs the program itself in, with Options.ClientID and
	// Options.ClientSecret (RFC 6749 section 4.4).
	ClientCredentials
)

// A DeviceCode is what a person needs to sign in with a device code.
type DeviceCode struct {
	// Server is a name of what the login is for.
	Server string
	// URL is where to enter UserCode. URLComplete has the code in it, and may be
	// "".
	URL, URLComplete string
	UserCode         string
	// Expires is when the code ends.
	Expires time.Time
}

// Options configure a [Client]. The zero value uses stored tokens alone, of which
// there are none without a Store.
type Options struct {
	// Flow is how tokens are obtained.
	Flow Flow
	// ShowCode shows a device code to a person. It returns when it has been shown.
	ShowCode func(ctx context.Context, code DeviceCode) error
	// OpenBrowser opens a URL in the person's browser. It returns when it is
	// open.
	OpenBrowser func(ctx context.Context, url string) error
	// LoginTimeout bounds a login by a person; 5 minutes when 0. A device code may
	// end earlier.
	LoginTimeout time.Duration

	// ClientID and ClientSecret are those of this client at the issuer. Without
	// them the server names a client.
	ClientID, ClientSecret string
	// Issuer is the only authorization server to deal with; "" is the first that
	// the server names. With it, a server that names none can be called.
	Issuer string
	// Resource is what the server's metadata call it, when that is not its URL:
	// behind a gateway under another name, say.
	Resource string
	// Scopes to ask for; nil is what the server says, or openid.
	Scopes []string
	// Params are more parameters of authorization and device requests and of
	// client credentials: prompt, audience, resource.
	Params url.Values
	// RedirectURL is where the browser comes back to, for an issuer that is
	// particular about it; the host must be 127.0.0.1, [::1] or localhost. Without a
	// port a free one is taken. "" is http://127.0.0.1/callback.
	RedirectURL string
	// RefreshToken is one that was obtained elsewhere. It is used where nothing is
	// stored.
	RefreshToken string

	// Store keeps the tokens; nil is the process's memory.
	Store Store
	// Transport carries requests to issuers and for metadata; nil is one of the
	// client's own.
	Transport http.RoundTripper
	// Logger is told of refreshes and logins, never of a token. Nil is silent.
	Logger *slog.Logger
}

// Times of the protocol and of ours.
const (
	refreshAhead        = 45 * time.Second
	defaultLoginTimeout = 5 * time.Minute
	// refusedTwice is the age below which a token that the server refuses is not
	// replaced: another one would be refused as well.
	refusedTwice = 10 * time.Second
	// refreshPause is how long a refresh that failed is not tried again while the
	// token still serves.
	refreshPause = 5 * time.Second
)

const defaultRedirect = "http://127.0.0.1/callback"

// reservedParams are set by the flows.
var reservedParams = []string{
	"client_id", "client_secret", "response_type", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "grant_type", "request", "request_uri", "response_mode",
}

// withDefaults checks o and fills in what it leaves open.
func (o Options) withDefaults() (Options, error) {
	invalid := func(format string, args ...any) (Options, error) {
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "oauth: "+format, args...)
	}
	if err := checkFlow(&o); err != nil {
		return invalid("Options.Flow: %w", err)
	}
	if o.ClientSecret != "" && o.ClientID == "" {
		return invalid("Options.ClientSecret without ClientID: want both")
	}
	if o.LoginTimeout < 0 {
		return invalid("Options.LoginTimeout is %v: want 0 or more", o.LoginTimeout)
	}
	if o.LoginTimeout == 0 {
		o.LoginTimeout = defaultLoginTimeout
	}
	for name := range o.Params {
		if slices.Contains(reservedParams, name) {
			return invalid("Options.Params has %s, which the flow sets", name)
		}
	}
	if o.Issuer != "" {
		if _, err := parseSecure(o.Issuer); err != nil {
			return invalid("Options.Issuer %w", err)
		}
	}
	if o.RedirectURL == "" {
		o.RedirectURL = defaultRedirect
	}
	if u, err := url.Parse(o.RedirectURL); err != nil || u.Scheme != "http" || !isLoopback(u.Hostname()) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return invalid("Options.RedirectURL: want http://127.0.0.1/…, http://[::1]/… or http://localhost/…")
	}
	if o.Store == nil {
		o.Store = NewMemoryStore()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// checkFlow makes sure that the flow has what it needs.
func checkFlow(o *Options) error {
	switch {
	case o.Flow < Auto || o.Flow > ClientCredentials:
		return fmt.Errorf("%d is none: want Auto, Device, Browser or ClientCredentials", o.Flow)
	case o.Flow == Device && o.ShowCode == nil:
		return errors.New("a device code needs Options.ShowCode: nobody would see it")
	case o.Flow == Browser && o.OpenBrowser == nil:
		return errors.New("a browser needs Options.OpenBrowser")
	case o.Flow == ClientCredentials && (o.ClientID == "" || o.ClientSecret == ""):
		return errors.New("client credentials need Options.ClientID and Options.ClientSecret")
	}
	return nil
}

// serverKey is the URL of a server in the form in which it is compared.
func serverKey(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p := u.Port(); p != "" && p != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + p
	}
	return u.Scheme + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
}
