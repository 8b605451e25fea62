package oauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Options configure [New]. Resource and AuthorizationServers have no default.
type Options struct {
	// Resource is the URL of the service as its clients know it. Its origin is
	// that of every URL that the service tells others: the metadata's, the
	// callback's, the token proxy's. With https every cookie is Secure.
	Resource string
	// Prefix is the path in front of every route, that of the HTTP handler: ""
	// or such as "/vgi". It is what browsers see: nothing in front of the handler
	// may change paths, as http.StripPrefix does.
	Prefix string
	// AuthorizationServers are the issuers whose tokens the service takes, each
	// to the character. People sign in at the first.
	AuthorizationServers []string

	// Scopes are those that the service understands, and that a sign-in asks
	// for; "openid" and "email" are asked for when empty.
	Scopes []string
	// Name, Documentation, PolicyURI and TermsURI describe the service to
	// people. The last three are URLs; each may be empty.
	Name, Documentation, PolicyURI, TermsURI string

	// ClientID is this service at the first authorization server, and what
	// clients are told to use. Without one there is no sign-in: only the
	// metadata is served.
	ClientID string
	// ClientSecret is the client's secret; "" for a public client. With a secret
	// there is a token proxy, and clients are told of it.
	ClientSecret string
	// ClientSecretBasic sends the secret in the Authorization header of a token
	// request, as some authorization servers demand, and not among its
	// parameters.
	ClientSecretBasic bool
	// UseIDToken takes the id_token for the bearer token, and tells clients to.
	UseIDToken bool
	// DeviceClientID is what clients without a browser are told to use; "" for
	// ClientID.
	DeviceClientID string
	// DeviceClientSecret goes with it, and is of use only with PublishSecrets.
	DeviceClientSecret string
	// PublishSecrets tells ClientSecret and DeviceClientSecret to everybody who
	// asks: in the metadata, in every refusal, and to the pages of
	// FrontendOrigins. It is for authorization servers that give secrets to
	// clients which cannot keep them.
	PublishSecrets bool
	// AuthorizeParams are further parameters of an authorization request, such
	// as "audience" or "resource".
	AuthorizeParams map[string]string
	// EndSession lets signing out end the session at the authorization server as
	// well, where it offers that (OpenID Connect RP-Initiated Logout 1.0). The
	// service's page has to be registered there as a place to return to.
	EndSession bool
	// HideToken keeps the token from scripts of this origin. By the
	// specification they can read it, to call the service with it.
	HideToken bool

	// FrontendOrigins are origins, such as "https://app.example", whose pages
	// get tokens: by the token proxy, and by sending a browser here with
	// _vgi_return_to, which comes back with a token in the fragment: behind the
	// route that was there, which is left out when it has one of "=&;%" in it.
	// Whoever controls one can act for everybody who visits it. Nobody when empty.
	FrontendOrigins []string

	// Keys seal what a sign-in has to remember, each of at least 16 bytes: the
	// first seals, all of them open. Replicas share them. Without any New makes
	// up a key, and warns: a sign-in then has to end at the process where it
	// began. They may be those of the handler's tokens: nothing that was sealed
	// for one purpose opens for another.
	Keys [][]byte
	// AllowHTTP lets Resource and the authorization servers be http: elsewhere
	// than on a loopback address. Whoever is on the way can then be anybody.
	AllowHTTP bool
	// HTTPClient asks the first authorization server. Redirects are never
	// followed and cookies never kept. One with the proxies of the environment
	// when nil.
	HTTPClient *http.Client
	// Timeout is how long one question may take; 10 s when 0.
	Timeout time.Duration
	// Logger hears of sign-ins that failed and of outages; nobody does when nil.
	Logger *slog.Logger
}

const (
	defaultTimeout = 10 * time.Second
	minKeyBytes    = 16
)

var defaultScopes = []string{"openid", "email"}

// Parameters that a sign-in sets itself.
var reservedParams = []string{
	"response_type", "response_mode", "client_id", "client_secret", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "prompt", "request", "request_uri",
}

// complete checks the options and puts the defaults in.
func (o Options) complete() (Options, error) {
	if err := errors.Join(o.checkURLs(), o.checkClient(), o.checkRest()); err != nil {
		return Options{}, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func (o Options) checkURLs() error {
	if o.Prefix != "" && (path.Clean(o.Prefix) != o.Prefix || !strings.HasPrefix(o.Prefix, "/") ||
		strings.HasPrefix(o.Prefix, "//") || o.Prefix == "/" || strings.ContainsFunc(o.Prefix, notInPath) || strings.ContainsAny(o.Prefix, "%?#")) {
		return fmt.Errorf(`option Prefix %q: want "" or a plain path such as "/vgi"`, o.Prefix)
	}
	if err := o.checkURL(o.Resource); err != nil {
		return fmt.Errorf("option Resource: %w", err)
	}
	if len(o.AuthorizationServers) == 0 {
		return errors.New("option AuthorizationServers: at least one is needed")
	}
	for _, s := range o.AuthorizationServers {
		if err := o.checkURL(s); err != nil {
			return fmt.Errorf("option AuthorizationServers: %w", err)
		}
	}
	for _, s := range []string{o.Documentation, o.PolicyURI, o.TermsURI} {
		if u, err := url.Parse(s); s != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
			return fmt.Errorf("option Documentation, PolicyURI or TermsURI: %q: want https:// or http://", s)
		}
	}
	for _, s := range o.FrontendOrigins {
		if _, err := parseOrigin(s); err != nil {
			return fmt.Errorf("option FrontendOrigins: %w", err)
		}
	}
	return nil
}

// checkURL refuses what cannot identify a service or an authorization server, or
// where anybody on the way could stand in for it.
func (o Options) checkURL(s string) error {
	if err := o.faultOf(s); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}

// faultOf is what checkURL has against a URL, without the URL.
func (o Options) faultOf(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(s, notInURL):
		return errors.New("want an absolute URL without user, query and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (o.AllowHTTP || isLoopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("http has to be allowed by AllowHTTP")
	}
	return errors.New("want https")
}

func (o Options) checkClient() error {
	for _, f := range []struct{ name, value string }{
		{"ClientID", o.ClientID},
		{"ClientSecret", o.ClientSecret},
		{"DeviceClientID", o.DeviceClientID},
		{"DeviceClientSecret", o.DeviceClientSecret},
	} {
		// What a challenge and a form carry as it is. The value may be a secret.
		if strings.ContainsFunc(f.value, notUnreserved) {
			return fmt.Errorf("option %s: only letters, digits, '-', '.', '_' and '~' may be in it", f.name)
		}
	}
	switch {
	case o.ClientSecret != "" && o.ClientID == "":
		return errors.New("option ClientSecret: it needs a ClientID")
	case o.DeviceClientSecret != "" && o.DeviceClientID == "":
		return errors.New("option DeviceClientSecret: it needs a DeviceClientID")
	case o.DeviceClientSecret != "" && !o.PublishSecrets:
		return errors.New("option DeviceClientSecret: it is of use only to clients, which PublishSecrets has to tell it")
	case o.UseIDToken && len(o.Scopes) > 0 && !slices.Contains(o.Scopes, "openid"):
		return errors.New(`option UseIDToken: there is no id_token without the scope "openid"`)
	}
	return nil
}

func (o Options) checkRest() error {
	if o.Timeout < 0 {
		return fmt.Errorf("option Timeout is %s: want 0 for %s, or more", o.Timeout, defaultTimeout)
	}
	for i, k := range o.Keys {
		if len(k) < minKeyBytes {
			return fmt.Errorf("option Keys: key %d has %d bytes, fewer than %d", i+1, len(k), minKeyBytes)
		}
	}
	for _, s := range o.Scopes {
		if s == "" || strings.ContainsFunc(s, notInScope) {
			return fmt.Errorf("option Scopes: %q is no scope (RFC 6749 section 3.3)", s)
		}
	}
	for name := range o.AuthorizeParams {
		if name == "" || slices.Contains(reservedParams, name) {
			return fmt.Errorf("option AuthorizeParams: %q is set by every sign-in", name)
		}
	}
	return nil
}

// notUnreserved reports whether a character is not one of RFC 3986 section 2.3.
func notUnreserved(c rune) bool {
	return ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && !strings.ContainsRune("-._~", c)
}

// notInScope reports whether a character is none of a scope's.
func notInScope(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }

// notInURL reports whether a browser could take a character of a URL for
// something else, or drop it.
func notInURL(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", c) }

// notInPath likewise.
func notInPath(c rune) bool { return notInURL(c) || c == '*' }
