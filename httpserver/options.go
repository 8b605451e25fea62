package httpserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/unauthorized"
	"github.com/vgirpc/vgirpc-go/wire"
)

// KeyRing is the keys that seal stream-state and session tokens: the first one
// seals, all of them open. Replicas that stand in for each other share it.
type KeyRing = seal.KeyRing

// NewKeyRing returns the ring of keys, each of at least 16 bytes and better of
// 32. It fails without a key, and on a short one.
func NewKeyRing(keys ...[]byte) (*KeyRing, error) { return seal.NewKeyRing(keys...) }

// ParseKeyRing returns the ring of the keys in text, as a flag, an environment
// variable or a file holds them: in hex or base64, separated by commas or space,
// with comments from # to the end of a line.
func ParseKeyRing(text string) (*KeyRing, error) { return seal.ParseKeyRing(text) }

// Options configure a [Handler]. The zero value works: every limit off or at its
// default, no authentication, keys of this process alone.
type Options struct {
	// Prefix is the path in front of every route, such as "/vgi"; "" for none.
	// It cannot be below /.well-known, which is open to everybody.
	Prefix string
	// RequireProtocolKey refuses requests whose metadata does not repeat the
	// protocol of the path. Without it the path alone is enough.
	RequireProtocolKey bool

	// Keys seal the tokens. Without them the handler makes up a key, warns, and
	// no other process can take up its streams.
	Keys *KeyRing
	// Replicas is how many processes serve the same callers. With more than
	// one, Keys have to be given.
	Replicas int
	// TokenTTL is how long a token is good for, and so how long a stream may
	// last. One hour when 0; negative is without end.
	TokenTTL time.Duration
	// CallCache is how many open streams the handler remembers, so that it need
	// not open their call tokens. 4096 when 0; negative turns it off.
	CallCache int

	// MaxRequestBytes bounds a request's body, as it is sent and as it is
	// decoded. 0 is without a limit of its own: those of the server's
	// wire.Limits hold in any case.
	MaxRequestBytes int64
	// MaxResponseBytes bounds a response, as Arrow IPC before compression. It
	// is at least 65,536, or 0 for no limit.
	MaxResponseBytes int64
	// HostingMaxRequestBytes and HostingMaxResponseBytes are what the place
	// allows where the server runs. The smaller of two limits holds.
	HostingMaxRequestBytes, HostingMaxResponseBytes int64
	// PreferredResponseBytes is the size that handlers are told to aim at.
	PreferredResponseBytes int64
	// MaxExternalizedResponseBytes bounds what one response may move to
	// external storage. 0 is without limit.
	MaxExternalizedResponseBytes int64

	// NoCompression sends every response as it is. Compressed requests are
	// decoded all the same.
	NoCompression bool
	// NoZstd leaves gzip as the only coding, in both directions.
	NoZstd bool

	// CORS lets pages of other origins call. Off when nil.
	CORS *CORS
	// Sticky lets methods keep state in this process. Off when nil.
	Sticky *Sticky

	// Auth decides who is calling. Everybody is anonymous when nil.
	Auth auth.Authenticator
	// Challenge is the WWW-Authenticate header of refusals; "" for none.
	Challenge string
	// ProxyAuthHeaders are headers that a proxy has to add for Auth to succeed,
	// beside those that Auth knows of (unauthorized-spec section 5.1).
	ProxyAuthHeaders []string
	// OAuth lets people sign in with a browser, and tells clients where tokens
	// are to be had. Off when nil.
	OAuth SignIn

	// Uploads hands out places for requests that are too large to send. Off
	// when nil.
	Uploads external.UploadURLs

	// NoPages leaves out the pages for people.
	NoPages bool
	// RepositoryURL is linked from the pages; "" for no link.
	RepositoryURL string
	// JSON lets browsers and shells call unary methods with JSON. Off when nil.
	JSON *JSONGateway

	// MaxInFlight is how many calls run at once; further ones are refused with
	// status 503. 0 is without limit.
	MaxInFlight int

	// AddressLimit bounds how often each address is served, whoever is calling.
	// It looks at every request but those for health, before authentication, and
	// is told of credentials that are not accepted. Further requests are refused
	// with status 429. Off when nil.
	AddressLimit *ratelimit.Addresses
	// PrincipalLimit bounds how often each authenticated caller is served, each
	// turn of a stream being a request. It needs Auth. Off when nil.
	PrincipalLimit *ratelimit.Principals
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is
	// believed: the last address in it that is not one of theirs is the client's,
	// for limits and refusals. The identity of a caller never rests on it. Without
	// them everything comes from where the connection does. Behind package
	// auth/proxyproto that is the address which the PROXY header asserts: it counts
	// as the peer's here, and the address of whoever sent the header does not.
	TrustedProxies []netip.Prefix
}

// CORS says which origins may call from a browser.
type CORS struct {
	// Origins are whole origins such as "https://app.example", or "*".
	Origins []string
}

// Sticky configures sessions that live in this process
// (sticky-sessions-spec).
type Sticky struct {
	// TTL is how long a session lives that is opened without a time of its own.
	// 300 s when 0.
	TTL time.Duration
	// EchoHeaders are headers that the client is told to send with every
	// request of a session, so that a load balancer finds its way.
	EchoHeaders map[string]string
	// MaxSessions bounds how many are open at once. 100,000 when 0.
	MaxSessions int
}

// FlyEchoHeaders are the echo headers that steer the proxy of Fly.io to a
// machine, named as FLY_MACHINE_ID does; nil for "".
func FlyEchoHeaders(machineID string) map[string]string {
	if machineID == "" {
		return nil
	}
	return map[string]string{"fly-force-instance-id": machineID}
}

// JSONGateway lets unary methods be called with a JSON object: POST
// {prefix}/{protocol}/{method}?format=json. It takes no cookie for a
// credential, refuses pages of other origins, and on a loopback address any
// host name but the usual ones.
type JSONGateway struct {
	// Hosts are names besides localhost and the loopback addresses by which the
	// server may be called on a loopback address.
	Hosts []string
	// MaxBodyBytes bounds the JSON of a request. 1 MiB when 0.
	MaxBodyBytes int64
}

// Defaults of Options.
const (
	defaultTokenTTL  = time.Hour
	defaultCallCache = 4096
	defaultJSONBody  = 1 << 20
)

// minResponseLimit and maxResponseLimit bound every limit of a response, in
// bytes (http-response-budgets).
const (
	minResponseLimit = 64 << 10
	maxResponseLimit = 1<<53 - 1
)

// withDefaults returns the options with its defaults filled in, or names the field that
// makes no sense.
func withDefaults(o Options) (Options, error) {
	if err := o.validate(); err != nil {
		return o, fmt.Errorf("httpserver: %w", err)
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = defaultTokenTTL
	}
	if o.CallCache == 0 {
		o.CallCache = defaultCallCache
	}
	if o.JSON != nil && o.JSON.MaxBodyBytes == 0 {
		own := *o.JSON
		own.MaxBodyBytes = defaultJSONBody
		o.JSON = &own
	}
	o.MaxRequestBytes = smaller(o.MaxRequestBytes, o.HostingMaxRequestBytes)
	o.MaxResponseBytes = smaller(o.MaxResponseBytes, o.HostingMaxResponseBytes)
	return o, nil
}

func (o *Options) validate() error {
	if err := o.validatePrefix(); err != nil {
		return err
	}
	if o.Replicas > 1 && o.Keys == nil {
		return fmt.Errorf("option Replicas is %d and Keys are missing: each replica would seal its tokens with a key of its own, "+
			"and no stream could go on at another one", o.Replicas)
	}
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"MaxRequestBytes", o.MaxRequestBytes, 1},
		{"HostingMaxRequestBytes", o.HostingMaxRequestBytes, 1},
		{"MaxResponseBytes", o.MaxResponseBytes, minResponseLimit},
		{"HostingMaxResponseBytes", o.HostingMaxResponseBytes, minResponseLimit},
		{"PreferredResponseBytes", o.PreferredResponseBytes, minResponseLimit},
		{"MaxExternalizedResponseBytes", o.MaxExternalizedResponseBytes, 1},
		{"MaxInFlight", int64(o.MaxInFlight), 1},
	} {
		if f.value != 0 && (f.value < f.least || f.value > maxResponseLimit) {
			return fmt.Errorf("option %s is %d: want 0 for no limit, or a number from %d to %d", f.name, f.value, f.least, int64(maxResponseLimit))
		}
	}
	if o.JSON != nil && o.JSON.MaxBodyBytes < 0 {
		return fmt.Errorf("option JSON.MaxBodyBytes is %d: want 0 for %d, or at least 1", o.JSON.MaxBodyBytes, defaultJSONBody)
	}
	if o.Sticky != nil {
		for name, value := range o.Sticky.EchoHeaders {
			if !validHeader(name, value) {
				return fmt.Errorf("option Sticky.EchoHeaders %q: want the name and value of an HTTP header", name)
			}
		}
	}
	for _, network := range o.TrustedProxies {
		if !network.IsValid() || network.Bits() == 0 {
			return fmt.Errorf("option TrustedProxies %v: want the network of a proxy, such as 10.0.0.0/8, and not everybody's", network)
		}
	}
	if o.PrincipalLimit != nil && o.Auth == nil {
		return errors.New("option PrincipalLimit: option Auth is missing: nobody would look at who is calling")
	}
	if strings.ContainsAny(o.Challenge, "\r\n") {
		return errors.New("option Challenge: a header has one line")
	}
	return nil
}

// validatePrefix refuses what no route can begin with, and a place where calls
// would need no authentication, whether there is any now or not.
func (o *Options) validatePrefix() error {
	p := o.Prefix
	if p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || strings.ContainsAny(p, "%?#*{}")) {
		return fmt.Errorf("option Prefix %q: want \"\" or a plain path such as \"/vgi\"", p)
	}
	for _, route := range [...]string{"/Protocol/method", "/Protocol/method/init", "/" + wire.MethodTransport, "/" + methodUploads + "/init", "/__session__"} {
		call := http.Request{Method: http.MethodPost, URL: &url.URL{Path: p + route}}
		if unauthorized.Exempt(&call, p) {
			return fmt.Errorf("option Prefix %q: what is below it is open to everybody, so that calls there would go past authentication: "+
				"choose another one, such as \"/vgi\"", p)
		}
	}
	return nil
}

// validHeader reports whether a header can be sent as it is.
func validHeader(name, value string) bool {
	token := name != "" && strings.Trim(http.CanonicalHeaderKey(name),
		"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
	return token && !strings.ContainsAny(value, "\r\n\x00")
}

// smaller is the smaller of two limits, of which 0 is none.
func smaller(a, b int64) int64 {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}
