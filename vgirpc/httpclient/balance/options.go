package balance

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Defaults of Options.
const (
	defaultFailures     = 3
	defaultEject        = time.Second
	defaultMaxEject     = time.Minute
	defaultProbeTimeout = time.Second
	defaultWindow       = 10 * time.Second
	defaultSessions     = 4096
)

// Options configure a [Transport]. The zero value works.
type Options struct {
	// Base is the URL that the client calls, for which the endpoints stand in:
	// that of the first endpoint when "". It need not exist:
	// http://vgi.invalid/prefix will do.
	Base string
	// Host is sent as the Host header, and is the name that certificates are
	// checked against, where the endpoints are addresses of one name (see
	// [Resolve]). Each endpoint goes by its own name when "". A port in it is
	// sent, and is not part of the name of the certificate.
	Host string
	// Transport carries the requests. Nil is a pool of kept connections of the
	// Transport's own, by way of the proxy that the environment names. One that
	// is given must report a failed dial as a *net.OpError of Op "dial", as
	// http.Transport does, or no request goes to a second endpoint, and must
	// not report anything else so. Host does not reach its TLS configuration.
	Transport http.RoundTripper
	// TLS is used for https by the Transport's own connections; nil trusts the
	// system's authorities.
	TLS *tls.Config

	// Failures is how many failures in a row eject an endpoint. 3 when 0.
	Failures int
	// EjectFor is how long the first ejection lasts, give or take a quarter;
	// each one that follows lasts twice as long, up to MaxEjectFor, which also
	// bounds what Retry-After can ask for. 1 s and 1 min when 0.
	EjectFor, MaxEjectFor time.Duration
	// MaxEjected is the share of the endpoints that may be out at once, over 0
	// and up to 1: two thirds when 0. It always allows one, if there are two,
	// and never all.
	MaxEjected float64
	// ProbeTimeout bounds the wait of a request for the health of an endpoint
	// whose ejection is over. 1 s when 0.
	ProbeTimeout time.Duration
	// LatencyWindow is the time in which a measured latency loses two thirds of
	// its weight. 10 s when 0.
	LatencyWindow time.Duration
	// Sessions is of how many sticky sessions the endpoint is remembered. 4096
	// when 0.
	Sessions int
	// Logger is told of ejections and returns, at level info. Nil is
	// silent.
	Logger *slog.Logger
}

// withDefaults checks o and fills in what it leaves open.
func (o Options) withDefaults() (Options, error) {
	if o.Transport != nil && o.TLS != nil {
		return o, errors.New("balance: TLS is for the connections of our own: a given Transport has its own")
	}
	if o.MaxEjected < 0 || o.MaxEjected > 1 || math.IsNaN(o.MaxEjected) {
		return o, fmt.Errorf("balance: MaxEjected is %v: want a share over 0 and up to 1, or 0 for two thirds", o.MaxEjected)
	}
	if strings.ContainsAny(o.Host, "/@?# \r\n") {
		return o, fmt.Errorf("balance: Host is %q: want a name, and maybe a port", o.Host)
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{
		{"EjectFor", &o.EjectFor, min(defaultEject, cmp.Or(o.MaxEjectFor, defaultEject))},
		{"MaxEjectFor", &o.MaxEjectFor, max(defaultMaxEject, o.EjectFor)},
		{"ProbeTimeout", &o.ProbeTimeout, defaultProbeTimeout},
		{"LatencyWindow", &o.LatencyWindow, defaultWindow},
	} {
		if *f.value < 0 {
			return o, fmt.Errorf("balance: %s is %v: want more than 0, or 0 for the default", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.usual
		}
	}
	if o.EjectFor > o.MaxEjectFor {
		return o, fmt.Errorf("balance: EjectFor is %v and MaxEjectFor %v", o.EjectFor, o.MaxEjectFor)
	}
	if o.Failures < 0 || o.Sessions < 0 {
		return o, fmt.Errorf("balance: Failures is %d and Sessions %d: want more than 0, or 0 for the default", o.Failures, o.Sessions)
	}
	if o.Failures == 0 {
		o.Failures = defaultFailures
	}
	if o.Sessions == 0 {
		o.Sessions = defaultSessions
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// maxOut is how many of n endpoints may be out at once, by the share of
// Options.MaxEjected.
func maxOut(n int, share float64) int {
	out := n * 2 / 3
	if share > 0 {
		out = int(float64(n)*share + 1e-9) // 0.1 of 10 is 1
	}
	return max(0, min(max(out, 1), n-1))
}

// parse reads the URL of an endpoint or a base, and takes the slash off its end.
func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("balance: a URL cannot be parsed") // it may hold a secret
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, fmt.Errorf("balance: URL %s: want http://host or https://host", u.Redacted())
	case u.User != nil:
		return nil, errors.New("balance: a URL has credentials: they belong to the client")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("balance: URL %s has a query or a fragment", u.Redacted())
	}
	u.Host = strings.ToLower(u.Host)
	if escaped := strings.TrimRight(u.EscapedPath(), "/"); escaped != u.EscapedPath() {
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
		if u.EscapedPath() != escaped {
			u.RawPath = escaped
		}
	}
	return u, nil
}

// parseAll reads the URLs of all endpoints, which differ.
func parseAll(raw []string) ([]*url.URL, error) {
	if len(raw) == 0 {
		return nil, errors.New("balance: there are no endpoints")
	}
	out := make([]*url.URL, 0, len(raw))
	for _, r := range raw {
		u, err := parse(r)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o *url.URL) bool { return o.String() == u.String() }) {
			return nil, fmt.Errorf("balance: endpoint %s is given twice", u)
		}
		out = append(out, u)
	}
	return out, nil
}
