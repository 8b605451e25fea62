package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Bounds of what is well.
const (
	expiresSoon = 21 * 24 * time.Hour
	expiresNow  = 3 * 24 * time.Hour
	clockSkew   = 30 * time.Second
)

// http looks at the endpoint as HTTP shows it, and reports whether there is
// something to connect to.
func (d *doctor) http(ctx context.Context, web *httpProbe) bool {
	d.secrets()
	within, cancel := context.WithTimeout(ctx, d.conn.connectTimeout)
	defer cancel()
	start := d.now()
	resp, err := web.health(within, web.rt) // which should need no login
	end := d.now()
	if err != nil {
		d.findf(verdictFail, "http", "%v", explained(err))
		return false
	}
	d.findf(verdictOK, "http", "%s, HEAD health answers %d (%s)", resp.proto, resp.status, rounded(end.Sub(start)))
	d.between(resp.header)
	if resp.tls != nil {
		d.tls(resp.tls)
	}
	d.clock(resp.header, start, end)
	switch {
	case resp.status == http.StatusUnauthorized:
		d.findf(verdictWarn, "health", "the health route wants credentials: it should not, since clients learn from it what the server can do")
		if again, err := web.health(within, web.login); err == nil { // an error is that of the call below as well
			resp = again
		}
	case resp.status/100 == 3:
		d.findf(verdictFail, "health", "a redirect to %s, which clients do not follow: the base URL has moved", orElse(resp.header.Get("Location"), "nowhere"))
		return false
	case resp.status == http.StatusNotFound:
		d.findf(verdictFail, "health", "there is no health route: the URL lacks the server's prefix, or this is no vgi-rpc server")
	case resp.status/100 != 2:
		d.findf(verdictFail, "health", "HTTP %d", resp.status)
	}
	d.capabilities(resp.header)
	d.reflection(within, web)
	return true
}

// explained says what an error of TLS means.
func explained(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return errors.Join(err, errors.New("the certificate is signed by nobody that is trusted here: see --cacert"))
	case errors.As(err, &name):
		return errors.Join(err, errors.New("the certificate is for another name: see --server-name"))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.Join(err, errors.New("the certificate has expired, or a clock is wrong"))
	}
	return err
}

// secrets warns of credentials that anybody on the way can read.
func (d *doctor) secrets() {
	u, err := url.Parse(d.target)
	if err != nil || u.Scheme != "http" || (d.conn.bearer == "" && d.conn.bearerFile == "") {
		return
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		d.findf(verdictWarn, "credentials", "the bearer token travels without TLS: whoever stands between can read it")
	}
}

// between tells of what stands between, by the headers that it leaves.
func (d *doctor) between(h http.Header) {
	signs := map[string]string{
		"Via": "a proxy", "Cf-Ray": "Cloudflare", "X-Amzn-Trace-Id": "an AWS load balancer", "X-Amz-Cf-Id": "CloudFront",
		"X-Amz-Apigw-Id": "AWS API Gateway", "X-Azure-Ref": "Azure Front Door", "X-Served-By": "Fastly", "X-Cache": "a cache",
		"X-Cloud-Trace-Context": "Google Cloud", "X-Kong-Proxy-Latency": "Kong", "X-Kong-Request-Id": "Kong",
		"X-Envoy-Upstream-Service-Time": "Envoy", "X-Envoy-Decorator-Operation": "Envoy",
	}
	var found []string
	for name, who := range signs {
		if v := h.Get(name); v != "" {
			found = append(found, who+" ("+name+": "+v+")")
		}
	}
	if v := h.Get("Server"); v != "" {
		found = append(found, "Server: "+v)
	}
	slices.Sort(found)
	if len(found) == 0 {
		d.findf(verdictOK, "between", "nothing that shows")
		return
	}
	d.findf(verdictInfo, "between", "%s", strings.Join(found, "; "))
	if h.Get("Age") != "" || strings.HasPrefix(strings.ToUpper(h.Get("X-Cache")), "HIT") {
		d.findf(verdictWarn, "between", "the answer comes out of a cache: capabilities may be out of date")
	}
}

// tls looks at the certificate.
func (d *doctor) tls(state *tls.ConnectionState) {
	leaf := state.PeerCertificates[0]
	left := leaf.NotAfter.Sub(d.now())
	verdict := verdictOK
	switch {
	case left < expiresNow:
		verdict = verdictFail
	case left < expiresSoon:
		verdict = verdictWarn
	}
	d.findf(verdict, "certificate", "%s, %s, expires %s, in %d days",
		tls.VersionName(state.Version), orElse(leaf.Subject.CommonName, strings.Join(leaf.DNSNames, ", ")),
		leaf.NotAfter.UTC().Format(time.DateOnly), int(left/(24*time.Hour)))
	if d.conn.insecure {
		d.findf(verdictWarn, "certificate", "not checked, because of --insecure")
	}
}

// rawTLS looks at the certificate of a byte stream.
func (d *doctor) rawTLS(ctx context.Context) {
	config, err := d.conn.tls()
	if err != nil {
		d.findf(verdictFail, "certificate", "%v", err)
		return
	}
	if d.conn.proxy != "" {
		d.findf(verdictInfo, "certificate", "not looked at, because of the proxy")
		return
	}
	within, cancel := context.WithTimeout(ctx, d.conn.connectTimeout)
	defer cancel()
	address := strings.TrimPrefix(strings.TrimPrefix(d.target, "tcp+tls:"), "//")
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(within, "tcp", address)
	if err != nil {
		d.findf(verdictFail, "certificate", "%v", explained(err))
		return
	}
	state := conn.(*tls.Conn).ConnectionState()
	d.tls(&state)
	_ = conn.Close() // it has shown what it had
}

// clock compares the server's clock with this one.
func (d *doctor) clock(h http.Header, start, end time.Time) {
	theirs, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		d.findf(verdictInfo, "clock", "the server gives no date")
		return
	}
	// The date has no fractions, and was written at some time in between.
	var off time.Duration
	switch {
	case theirs.Add(time.Second).Before(start):
		off = theirs.Add(time.Second).Sub(start)
	case theirs.After(end):
		off = theirs.Sub(end)
	}
	if off.Abs() > clockSkew {
		d.findf(verdictWarn, "clock", "the server's clock is %s off: tokens and proofs that expire may be refused", off.Round(time.Second))
		return
	}
	d.findf(verdictOK, "clock", "within %s", max(time.Second, off.Abs().Round(time.Second)))
}

// capabilities looks at what the server says of itself in headers (WIRE_PROTOCOL
// section 10), and what of it arrives.
func (d *doctor) capabilities(h http.Header) {
	if v := h.Values("Vgi-Accept-Max-Response-Bytes-Support"); len(v) == 1 && v[0] == "true" {
		d.findf(verdictOK, "response limit", "supported")
	} else {
		d.findf(verdictFail, "response limit", "VGI-Accept-Max-Response-Bytes-Support does not arrive (%q): the server is too old, or a gateway drops headers; --no-response-limit does without", v)
	}
	encodings, said := h["Vgi-Supported-Encodings"]
	switch list := strings.Join(encodings, ", "); {
	case !said:
		d.findf(verdictInfo, "compression", "the server does not say: zstd is assumed")
	case list == "":
		d.findf(verdictInfo, "compression", "none")
	default:
		d.findf(verdictOK, "compression", "%s", list)
	}
	for _, c := range []struct{ name, header string }{
		{"largest request", "Vgi-Max-Request-Bytes"},
		{"largest answer", "Vgi-Max-Response-Bytes"},
		{"largest upload", "Vgi-Max-Upload-Bytes"},
		{"uploads", "Vgi-Upload-Url-Support"},
		{"storage", "Vgi-Externalization-Enabled"},
		{"sticky", "Vgi-Sticky-Enabled"},
		{"proxy proof", "Vgi-Proxy-Proof-Required"},
	} {
		if v := h.Get(c.header); v != "" && v != "false" {
			d.findf(verdictInfo, c.name, "%s", v)
		}
	}
}

// reflection makes a call that every server answers, to see who is let in and in
// which form the answer arrives.
func (d *doctor) reflection(ctx context.Context, web *httpProbe) {
	m := vgirpc.NewReflection().ListProtocols
	ask := wire.EmptyBatch(wire.EmptySchema(), m.RequestMetadata())
	ask.Rows = 1
	got, err := web.call(ctx, m.String(), &ask, allCodings)
	if err != nil {
		d.findf(verdictFail, "authentication", "%v", err)
		return
	}
	media := got.header.Get("Content-Type")
	switch {
	case got.status == http.StatusUnauthorized:
		d.findf(verdictFail, "authentication", "%s", refusal(got))
		return
	case media != contentTypeArrow:
		d.findf(verdictFail, "authentication", "a call is answered with HTTP %d, %q: not by the server itself", got.status, media)
		return
	case len(web.header["Authorization"]) > 0:
		d.findf(verdictOK, "authentication", "let in with the credentials")
	case got.authorized:
		d.findf(verdictOK, "authentication", "let in with the login that is stored")
	default:
		d.findf(verdictOK, "authentication", "let in without credentials")
	}
	coding := orElse(got.header.Get("Content-Encoding"), got.header.Get("X-Vgi-Content-Encoding"))
	switch {
	case coding != "":
		d.findf(verdictOK, "compression", "an answer arrives as %s", coding)
	case strings.Join(got.header["Vgi-Supported-Encodings"], "") != "":
		d.findf(verdictInfo, "compression", "an answer arrives uncompressed: the server does not compress one of %d bytes, or what stands between undoes it", len(got.body))
	}
}

// refusal is what a 401 says (unauthorized-spec.md section 3).
func refusal(resp *answer) string {
	var envelope struct {
		Reason    string `json:"reason"`
		Detail    string `json:"detail"`
		ProxyHint string `json:"proxy_hint"`
	}
	_ = json.Unmarshal(resp.body, &envelope) // a gateway's is something else
	text := "refused"
	if reason := orElse(envelope.Reason, resp.header.Get("Vgi-Auth-Reason")); reason != "" {
		text += ": " + reason
	}
	if envelope.Detail != "" && envelope.Detail != envelope.Reason {
		text += " (" + envelope.Detail + ")"
	}
	if schemes := resp.header.Values("WWW-Authenticate"); len(schemes) > 0 {
		text += "; wants " + strings.Join(schemes, ", ")
	}
	if envelope.ProxyHint != "" {
		text += "\n" + envelope.ProxyHint
	}
	return text
}
