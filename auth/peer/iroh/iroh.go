package iroh

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/vgirpc/vgirpc-go/auth/peer"
)

const (
	// Header is what the bridge sets, having removed what the client has set.
	Header = "Vgi-Forwarded-Iroh-Endpoint"
	// TLVType is the type of the TLV that names the endpoint.
	TLVType = 0xE0
	// FamilyProtocol is the byte of the PROXY header that goes with it: UNSPEC.
	FamilyProtocol = 0x00

	payloadVersion = 1
	endpointSize   = 32 // bytes
	name           = "iroh"
)

// TLV is one of a PROXY header.
type TLV struct {
	Type  byte
	Value []byte
}

var errEndpoint = errors.New("iroh: the PROXY header does not name one endpoint")

// Endpoint is the endpoint that a PROXY header of the bridge names, in lower-case
// digits, for [peer.Conn]. FamilyProtocol is the header's byte of that name. It
// is an error when the header is not of an UNSPEC connection, or does not have
// one TLV that names an endpoint as it should. The caller has checked before that
// the header is a trusted bridge's and has the command PROXY.
func Endpoint(familyProtocol byte, tlvs []TLV) (string, error) {
	var endpoint string
	for _, tlv := range tlvs {
		if tlv.Type != TLVType {
			continue
		}
		if endpoint != "" || len(tlv.Value) != 1+endpointSize || tlv.Value[0] != payloadVersion {
			return "", errEndpoint
		}
		endpoint = hex.EncodeToString(tlv.Value[1:])
	}
	if endpoint == "" || familyProtocol != FamilyProtocol {
		return "", errEndpoint
	}
	return endpoint, nil
}

// Options configure [New].
type Options struct {
	// Issuer is the operator's name for the network of endpoints; it has no
	// default.
	Issuer string
	// Bridges are the addresses whose word counts, each on its own, or "unix".
	Bridges []string
}

// Provider names endpoints, as "iroh". It is a [peer.Provider].
type Provider struct {
	issuer  string
	bridges peer.Proxies
}

// New returns a provider. It is an error when there is no issuer or no bridge.
func New(opts Options) (*Provider, error) {
	if opts.Issuer == "" || strings.ContainsFunc(opts.Issuer, unicode.IsControl) {
		return nil, errors.New("iroh: no issuer, or control characters in it")
	}
	bridges, err := peer.ParseProxies(opts.Bridges)
	if err != nil {
		return nil, fmt.Errorf("iroh: %w", err)
	}
	return &Provider{opts.Issuer, bridges}, nil
}

// Name is "iroh".
func (*Provider) Name() string { return name }

// Local says that nobody is asked.
func (*Provider) Local() {}

// ProxyHeaders is the one that the bridge sets.
func (*Provider) ProxyHeaders() []string { return []string{Header} }

// Resolve reads what the bridge has said.
func (p *Provider) Resolve(_ context.Context, s *peer.Snapshot) peer.Result {
	if !p.bridges.Trust(s) {
		return peer.Result{Status: peer.UntrustedProxy}
	}
	endpoint, source, ok := s.IrohEndpoint, "proxy_v2", s.IrohEndpoint != ""
	if s.Transport == "http" {
		var err error
		source = "http_proxy"
		if endpoint, ok, err = s.One(Header); err != nil {
			return peer.Result{Status: peer.Invalid}
		}
		if ok && s.IrohEndpoint != "" && endpoint != s.IrohEndpoint { // the bridge did not set it
			return peer.Result{Status: peer.Invalid}
		}
	}
	if !ok {
		return peer.Result{Status: peer.NoMatch}
	}
	if !valid(endpoint) {
		return peer.Result{Status: peer.Invalid}
	}
	attributes, err := peer.NewObject(map[string]any{"original_assurance": string(peer.CryptographicPeer)})
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	return peer.Result{Status: peer.Available, Identities: []peer.Identity{{
		Provider: name, Source: source, Assurance: peer.ConfiguredProxy, Issuer: p.issuer, Transport: s.Transport,
		Kind: peer.Endpoint, Subject: endpoint, Stability: peer.Stable, Verified: true, Attributes: attributes,
		SourceAddr: endpoint, ProxyAddr: s.ImmediateAddr(),
	}}}
}

// valid: lower-case digits alone, so that an endpoint has one name.
func valid(endpoint string) bool {
	return len(endpoint) == 2*endpointSize && strings.Trim(endpoint, "0123456789abcdef") == ""
}
