package spiffe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
)

// ProviderName is the name of all providers of this package: a service has one.
const ProviderName = "spiffe"

// ProxyOptions configure the adapters.
type ProxyOptions struct {
	// TrustDomains are those whose workloads count, as in "example.org".
	TrustDomains []string
	// Proxies are the addresses that are believed, each on its own, or "unix".
	Proxies []string
}

// CertificateOptions configure adapters that read a certificate.
type CertificateOptions struct {
	ProxyOptions

	// CertificateHeader has the certificate, and VerifyHeader what came of
	// verifying it, instead of the adapter's own.
	CertificateHeader, VerifyHeader string
}

// Nginx is for nginx that verifies clients, and has $ssl_client_escaped_cert and
// $ssl_client_verify in the headers X-SSL-Client-Cert and X-SSL-Client-Verify.
func Nginx(opts CertificateOptions) (*Provider, error) {
	return certificate("nginx_mtls", opts, "X-SSL-Client-Cert", "X-SSL-Client-Verify")
}

// ApplicationGateway is for an Azure Application Gateway with strict mutual TLS,
// whose rewrite rules put the server variables client_certificate and
// client_certificate_verification in the headers X-Client-Certificate and
// X-Client-Certificate-Verification.
func ApplicationGateway(opts CertificateOptions) (*Provider, error) {
	return certificate("azure_application_gateway_mtls_strict", opts, "X-Client-Certificate", "X-Client-Certificate-Verification")
}

// ALB is for an AWS Application Load Balancer whose listener is in the verify
// mode of mutual TLS: it says nothing of what it has verified, and forwards the
// leaf in X-Amzn-Mtls-Clientcert-Leaf. In passthrough mode anybody's certificate
// would come here. There is no VerifyHeader.
func ALB(opts CertificateOptions) (*Provider, error) {
	if opts.VerifyHeader != "" {
		return nil, errors.New("spiffe: an Application Load Balancer has no header that says what it has verified")
	}
	return certificate("aws_alb_mtls_verify", opts, "X-Amzn-Mtls-Clientcert-Leaf", "")
}

func certificate(source string, opts CertificateOptions, header, verify string) (*Provider, error) {
	if opts.CertificateHeader != "" {
		header = opts.CertificateHeader
	}
	if opts.VerifyHeader != "" {
		verify = opts.VerifyHeader
	}
	reader := mtls.Options{Source: mtls.EscapedPEM, Header: header, VerifyHeader: verify, ProxyVerifies: verify == ""}
	headers := []string{header}
	if verify != "" {
		headers = append(headers, verify)
	}
	return newProxy(source, opts.ProxyOptions, reader, headers)
}

// EnvoyOptions configure [Envoy].
type EnvoyOptions struct {
	ProxyOptions

	// Header is X-Forwarded-Client-Cert when empty.
	Header string
}

// Envoy is for the Envoy next to the service that verifies clients, with
// forward_client_cert_details SANITIZE_SET and set_current_client_cert_details of
// the URI: one element, of the client that it has verified itself. What another
// Envoy has forwarded is refused.
func Envoy(opts EnvoyOptions) (*Provider, error) {
	if opts.Header == "" {
		opts.Header = "X-Forwarded-Client-Cert"
	}
	reader := mtls.Options{Source: mtls.XFCC, Header: opts.Header, Element: mtls.Only}
	p, err := newProxy("envoy_xfcc_sanitize_set", opts.ProxyOptions, reader, []string{opts.Header})
	if err != nil {
		return nil, err
	}
	p.attributes = func(claims map[string]any) map[string]any {
		return map[string]any{"certificate_sha256": claims["sha256"]}
	}
	return p, nil
}

// GoogleOptions configure [GoogleLoadBalancer].
type GoogleOptions struct {
	ProxyOptions

	// The headers, when they are not X-Client-Cert-Spiffe-Id,
	// X-Client-Cert-Present, X-Client-Cert-Chain-Verified and
	// X-Client-Cert-Error.
	SPIFFEIDHeader, PresentHeader, VerifiedHeader, ErrorHeader string
}

// The headers that package mtls reads.
var googleHeaders = [...]string{
	"X-Client-Cert-Spiffe-Id", "X-Client-Cert-Present", "X-Client-Cert-Chain-Verified", "X-Client-Cert-Error",
}

// GoogleLoadBalancer is for a Google Cloud load balancer with mutual TLS, whose
// backend service has custom headers of the variables client_cert_spiffe_id,
// client_cert_present, client_cert_chain_verified and client_cert_error.
func GoogleLoadBalancer(opts GoogleOptions) (*Provider, error) {
	headers := []string{opts.SPIFFEIDHeader, opts.PresentHeader, opts.VerifiedHeader, opts.ErrorHeader}
	for i, own := range googleHeaders {
		if headers[i] == "" {
			headers[i] = own
		}
	}
	p, err := newProxy("gcp_load_balancer_mtls", opts.ProxyOptions, mtls.Options{Source: mtls.GoogleSPIFFE}, headers)
	if err != nil {
		return nil, err
	}
	p.absent = p.absentAtGoogle
	p.attributes = func(map[string]any) map[string]any {
		return map[string]any{"client_certificate_present": true, "client_certificate_chain_verified": true}
	}
	return p, nil
}

// Provider names workloads by their SPIFFE IDs, as "spiffe". It is a
// [peer.Provider].
type Provider struct {
	source  string
	proxies peer.Proxies
	headers []string // canonical; the evidence first
	reader  *mtls.Authenticator
	names   map[string]string // of the reader's headers, by ours; nil when they are the same

	// absent reports whether the proxy says that there was no certificate.
	absent func(s *peer.Snapshot) bool
	// attributes are those of an identity with such claims; nil for none.
	attributes func(claims map[string]any) map[string]any
}

// anyProxy is where the reader's requests come from: the proxy has been checked
// against the exact list before.
const anyProxy = "127.0.0.1"

func newProxy(source string, opts ProxyOptions, reader mtls.Options, headers []string) (*Provider, error) {
	p := &Provider{source: source}
	var err error
	if p.proxies, err = peer.ParseProxies(opts.Proxies); err != nil {
		return nil, fmt.Errorf("spiffe: %w", err)
	}
	if len(opts.TrustDomains) == 0 {
		return nil, errors.New("spiffe: no trust domains")
	}
	if reader.Source == mtls.GoogleSPIFFE {
		p.names = map[string]string{}
	}
	for i, name := range headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if !httpguts.ValidHeaderFieldName(name) || slices.Contains(p.headers, name) {
			return nil, fmt.Errorf("spiffe: %q is no header of its own", name)
		}
		p.headers = append(p.headers, name)
		if p.names != nil {
			p.names[name] = googleHeaders[i]
		}
	}
	reader.Proxies, reader.TrustDomains = []string{anyProxy}, opts.TrustDomains
	if p.reader, err = mtls.New(reader); err != nil {
		return nil, fmt.Errorf("spiffe: %w", err)
	}
	p.absent = p.absentEvidence
	return p, nil
}

// Name is [ProviderName].
func (*Provider) Name() string { return ProviderName }

// Local says that nobody is asked.
func (*Provider) Local() {}

// ProxyHeaders are those that the proxy sets.
func (p *Provider) ProxyHeaders() []string { return slices.Clone(p.headers) }

// Resolve reads what the proxy has said. Nothing of it is read before the
// connection is known to be the proxy's. A request without a certificate is
// [peer.NoMatch]; anything but one good one is [peer.Invalid].
func (p *Provider) Resolve(_ context.Context, s *peer.Snapshot) peer.Result {
	switch {
	case s.Header == nil:
		return peer.Result{Status: peer.NotApplicable}
	case !p.proxies.Trust(s):
		return peer.Result{Status: peer.UntrustedProxy}
	case p.absent(s):
		return peer.Result{Status: peer.NoMatch}
	}
	id, err := p.reader.Authenticate(&http.Request{Header: p.translate(s.Header), RemoteAddr: anyProxy + ":1"})
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	identity, err := workload(id.Principal, p.source, peer.ConfiguredProxy, s)
	if err == nil && p.attributes != nil {
		identity.Attributes, err = peer.NewObject(p.attributes(id.Claims))
	}
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	return peer.Result{Status: peer.Available, Identities: []peer.Identity{identity}}
}

// translate is the header under the names that the reader knows.
func (p *Provider) translate(h http.Header) http.Header {
	if p.names == nil {
		return h
	}
	out := http.Header{}
	for ours, theirs := range p.names {
		if lines, ok := h[ours]; ok {
			out[theirs] = lines
		}
	}
	return out
}

// absentEvidence: the header is not there, or says nothing.
func (p *Provider) absentEvidence(s *peer.Snapshot) bool {
	text, _, err := s.One(p.headers[0])
	return err == nil && text == ""
}

// absentAtGoogle: the load balancer says so, and nothing else to the contrary.
func (p *Provider) absentAtGoogle(s *peer.Snapshot) bool {
	if !p.absentEvidence(s) {
		return false
	}
	present, _, err := s.One(p.headers[1])
	if err != nil || present != "false" {
		return false
	}
	verified, _, err := s.One(p.headers[2])
	return err == nil && (verified == "" || verified == "false")
}

// workload is the identity of a SPIFFE ID that has been checked.
func workload(id, source string, assurance peer.Assurance, s *peer.Snapshot) (peer.Identity, error) {
	rest, _ := strings.CutPrefix(id, "spiffe://")
	domain, _, ok := strings.Cut(rest, "/")
	if !ok {
		return peer.Identity{}, &auth.Failure{Reason: auth.InvalidCredential}
	}
	out := peer.Identity{
		Provider: ProviderName, Source: source, Assurance: assurance, Issuer: "spiffe://" + domain, Transport: s.Transport,
		Kind: peer.Workload, Subject: id, Stability: peer.Stable, Verified: true,
		SourceAddr: s.Asserted, ProxyAddr: s.ImmediateAddr(),
	}
	if assurance == peer.CryptographicPeer {
		out.SourceAddr, out.ProxyAddr = s.Source, ""
	}
	return out, nil
}
