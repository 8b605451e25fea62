package mtls

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Source is where the evidence of a client certificate comes from.
type Source string

// The sources.
const (
	// Direct is the request's own TLS connection, whose server has to verify
	// client certificates.
	Direct Source = "direct"
	// EscapedPEM is a certificate in PEM, escaped as in a URL: nginx's
	// $ssl_client_escaped_cert, the leaf of an AWS load balancer. The header is
	// X-SSL-Client-Cert.
	EscapedPEM Source = "escaped_pem"
	// ClientCert is the Client-Cert field of RFC 9440.
	ClientCert Source = "client_cert"
	// XFCC is Envoy's X-Forwarded-Client-Cert in its text form.
	XFCC Source = "xfcc"
	// Fingerprint is the SHA-256 of a certificate in hexadecimal digits, with or
	// without colons. The header is X-SSL-Client-SHA256.
	Fingerprint Source = "fingerprint"
	// Subject is a distinguished name as RFC 4514 writes it: nginx's
	// $ssl_client_s_dn. The header is X-SSL-Client-S-DN.
	Subject Source = "subject"
	// GoogleSPIFFE is a SPIFFE ID, with the headers beside it that a Google load
	// balancer can be told to set (X-Client-Cert-Present, -Chain-Verified,
	// -Error). The header is X-Client-Cert-Spiffe-Id.
	GoogleSPIFFE Source = "google_spiffe"
)

// Name is what of a certificate names the caller.
type Name string

// The names. A certificate that has none of the kind, or several, is refused.
const (
	// CommonName is the CN of the subject.
	CommonName Name = "common_name"
	// SubjectDN is the whole subject, as RFC 4514 writes it.
	SubjectDN Name = "subject_dn"
	// SPIFFEID is the URI of a workload. The certificate has to be an X.509-SVID
	// whose trust domain is in TrustDomains.
	SPIFFEID Name = "spiffe_id"
	// URI is the URI among the subject's alternative names.
	URI Name = "uri"
	// DNS is the DNS name among them.
	DNS Name = "dns"
	// SHA256 is the fingerprint, in lower case.
	SHA256 Name = "sha256"
)

// Element says which element of an X-Forwarded-Client-Cert is the caller.
type Element string

// The policies for several elements, one of each proxy on the way.
const (
	// Only refuses more than one: the proxy is configured with SANITIZE_SET.
	Only Element = "only"
	// Last is the one that the nearest proxy has added.
	Last Element = "last"
	// First is the one farthest away. Without a proxy there that sanitizes, it
	// is whatever the client has written.
	First Element = "first"
)

// Options configure [New].
type Options struct {
	Source Source // has no default
	// Proxies are the addresses whose headers are believed, as single addresses,
	// which are best, or as prefixes such as 10.1.2.0/24; "unix" is whoever
	// connects over a Unix socket. Needed by all sources but [Direct], which has
	// none.
	Proxies []string
	// Header is where the evidence is, instead of the source's own header.
	Header string
	// VerifyHeader is where the proxy says what came of verifying the
	// certificate, for [EscapedPEM], [Fingerprint] and [Subject]:
	// X-SSL-Client-Verify when empty, with SUCCESS, NONE or FAILED:reason as
	// nginx has it.
	VerifyHeader string
	// ProxyVerifies says that the proxy has no such header and forwards what it
	// has verified alone, as an AWS load balancer in verify mode does.
	ProxyVerifies bool
	Element       Element // for [XFCC]; [Only] when empty

	// Name is what names the caller: [SPIFFEID] when there are TrustDomains,
	// [SHA256] with source [Fingerprint], and else [CommonName], when empty.
	Name Name
	// TrustDomains are the SPIFFE trust domains whose workloads are known, as in
	// "example.org".
	TrustDomains []string
	// Fingerprints, when not nil, are the only certificates that are accepted, by
	// their SHA-256 in hexadecimal digits, with or without colons. The value is
	// the principal that the certificate stands for; "" is what Name says.
	Fingerprints map[string]string
	// Allow, when not nil, are the only principals that are permitted.
	Allow []string
	// Domain is the identity's domain; "spiffe" with [SPIFFEID] and "mtls" with
	// other names when empty.
	Domain string
}

const maxHeader = 16 << 10 // bytes of evidence

// defaultHeaders also lists the sources.
var defaultHeaders = map[Source]string{
	Direct: "", EscapedPEM: "X-SSL-Client-Cert", ClientCert: "Client-Cert", XFCC: "X-Forwarded-Client-Cert",
	Fingerprint: "X-SSL-Client-SHA256", Subject: "X-SSL-Client-S-DN", GoogleSPIFFE: "X-Client-Cert-Spiffe-Id",
}

// namesOf are the names that a source knows.
var namesOf = map[Source][]Name{
	Direct:       {CommonName, SubjectDN, SPIFFEID, URI, DNS, SHA256},
	EscapedPEM:   {CommonName, SubjectDN, SPIFFEID, URI, DNS, SHA256},
	ClientCert:   {CommonName, SubjectDN, SPIFFEID, URI, DNS, SHA256},
	XFCC:         {CommonName, SubjectDN, SPIFFEID, URI, DNS, SHA256},
	Fingerprint:  {SHA256},
	Subject:      {CommonName, SubjectDN},
	GoogleSPIFFE: {SPIFFEID},
}

// complete checks the options and puts the defaults in.
func (o Options) complete() (Options, error) {
	header, known := defaultHeaders[o.Source]
	if !known {
		return o, fmt.Errorf("an unknown source %q", o.Source)
	}
	if o.Header == "" {
		o.Header = header
	}
	if o.VerifyHeader == "" {
		o.VerifyHeader = "X-SSL-Client-Verify"
	}
	o.Header, o.VerifyHeader = http.CanonicalHeaderKey(o.Header), http.CanonicalHeaderKey(o.VerifyHeader)
	switch {
	case o.Name != "":
	case len(o.TrustDomains) > 0 || o.Source == GoogleSPIFFE:
		o.Name = SPIFFEID
	case o.Source == Fingerprint:
		o.Name = SHA256
	default:
		o.Name = CommonName
	}
	if o.Domain == "" {
		o.Domain = "mtls"
		if o.Name == SPIFFEID {
			o.Domain = "spiffe"
		}
	}
	if o.Element == "" {
		o.Element = Only
	}
	return o, o.check()
}

func (o Options) check() error {
	switch {
	case o.Source == Direct && (o.Header != "" || o.ProxyVerifies || len(o.Proxies) > 0):
		return errors.New("a direct connection has no proxy")
	case o.Source != Direct && len(o.Proxies) == 0:
		return errors.New("no proxies: anybody could set the header")
	case o.Source != Direct && !httpguts.ValidHeaderFieldName(o.Header):
		return fmt.Errorf("%q is no header", o.Header)
	case o.verified() && (!httpguts.ValidHeaderFieldName(o.VerifyHeader) || o.VerifyHeader == o.Header):
		return fmt.Errorf("%q is no header of its own", o.VerifyHeader)
	case !slices.Contains(namesOf[o.Source], o.Name):
		return fmt.Errorf("source %q does not know the name %q", o.Source, o.Name)
	case (o.Name == SPIFFEID) != (len(o.TrustDomains) > 0):
		return errors.New("trust domains go with SPIFFE IDs, and the other way round")
	case !slices.Contains([]Element{Only, Last, First}, o.Element):
		return fmt.Errorf("an unknown policy %q for several elements", o.Element)
	case o.Fingerprints != nil && (o.Source == Subject || o.Source == GoogleSPIFFE):
		return fmt.Errorf("source %q knows no fingerprints", o.Source)
	}
	for _, d := range o.TrustDomains {
		if !validTrustDomain(d) {
			return fmt.Errorf("%q is no SPIFFE trust domain", d)
		}
	}
	return nil
}

// verified reports whether a header has to say that the certificate is good.
func (o Options) verified() bool {
	switch o.Source {
	case EscapedPEM, Fingerprint, Subject:
		return !o.ProxyVerifies
	default:
		return false
	}
}

// normalize reads a SHA-256 fingerprint, and writes it as 64 lower-case digits.
func normalize(fingerprint string) (string, bool) {
	digits := strings.ToLower(fingerprint)
	if len(digits) == 3*sha256.Size-1 {
		for i := 2; i < len(digits); i += 3 {
			if digits[i] != ':' {
				return "", false
			}
		}
		digits = strings.ReplaceAll(digits, ":", "")
	}
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != sha256.Size {
		return "", false
	}
	return digits, true
}

// proxies are the addresses that are believed.
type proxies struct {
	prefixes []netip.Prefix
	unix     bool
}

// contain reports whether an address is one of them.
func (p proxies) contain(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(p.prefixes, func(of netip.Prefix) bool { return of.Contains(a) })
}

func parseProxies(list []string) (proxies, error) {
	var out proxies
	for _, text := range list {
		if text == "unix" {
			out.unix = true
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return proxies{}, fmt.Errorf("the proxy %q is neither an address nor a prefix", text)
			}
			prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		switch {
		case prefix.Bits() == 0:
			return proxies{}, fmt.Errorf("the proxy %q is everybody", text)
		case prefix.Addr().Is4In6():
			return proxies{}, fmt.Errorf("the proxy %q: write it as an IPv4 prefix", text)
		case prefix != prefix.Masked():
			return proxies{}, fmt.Errorf("the proxy %q has bits beyond its prefix", text)
		}
		out.prefixes = append(out.prefixes, prefix)
	}
	return out, nil
}
