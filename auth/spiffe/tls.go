package spiffe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/vgirpc/vgirpc-go/auth/mtls"
)

// TLSOptions configure [ServerTLS] and [ClientTLS].
type TLSOptions struct {
	// SVID is this end's certificate and key, asked for with every handshake. A
	// client may have none.
	SVID x509svid.Source
	// Bundles are what the other end's certificates are verified against, that of
	// a trust domain for the IDs in it alone; asked for with every handshake.
	Bundles x509bundle.Source
	// TrustDomains are those of the other end, as in "example.org".
	TrustDomains []string
	// IDs, when not nil, are the only SPIFFE IDs that the other end may have.
	IDs []string
	// ClientCertOptional lets clients in that show no certificate; one that is
	// shown has to be good. For servers.
	ClientCertOptional bool
}

// verifier looks at the other end of a TLS connection.
type verifier struct {
	opts    TLSOptions
	leaf    *mtls.Authenticator
	domains []spiffeid.TrustDomain
}

func newVerifier(opts TLSOptions) (*verifier, error) {
	if opts.Bundles == nil {
		return nil, errors.New("spiffe: no Bundles to verify the other end against")
	}
	leaf, err := newLeaf(opts.TrustDomains)
	if err != nil {
		return nil, err
	}
	domains, err := parseDomains(opts.TrustDomains)
	if err != nil {
		return nil, err
	}
	for _, id := range opts.IDs {
		parsed, err := spiffeid.FromString(id)
		if err != nil || parsed.Path() == "" || !slices.Contains(domains, parsed.TrustDomain()) {
			return nil, fmt.Errorf("spiffe: %q is no workload in the trust domains", id)
		}
	}
	opts.IDs = slices.Clone(opts.IDs)
	return &verifier{opts, leaf, domains}, nil
}

// verify is called with the state of every connection, resumed ones among them.
func (v *verifier) verify(state tls.ConnectionState) error {
	certs := state.PeerCertificates
	if len(certs) == 0 {
		if v.opts.ClientCertOptional {
			return nil
		}
		return errors.New("spiffe: the other end shows no certificate")
	}
	if _, _, err := x509svid.Verify(certs, v.opts.Bundles); err != nil {
		return fmt.Errorf("spiffe: %w", err)
	}
	id, err := checkLeaf(v.leaf, certs)
	if err != nil {
		return fmt.Errorf("spiffe: %w", err)
	}
	if v.opts.IDs != nil && !slices.Contains(v.opts.IDs, id) {
		return errors.New("spiffe: the other end's SPIFFE ID is not on the list")
	}
	return nil
}

// authorities are those of all trust domains together. They are what the TLS
// stack verifies against; the domain of an ID is told apart in verify.
func (v *verifier) authorities() (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), 0
	for _, d := range v.domains {
		bundle, err := v.opts.Bundles.GetX509BundleForTrustDomain(d)
		if err != nil {
			continue // its workloads cannot be verified
		}
		for _, c := range bundle.X509Authorities() {
			pool.AddCert(c)
			found++
		}
	}
	if found == 0 {
		return nil, errors.New("spiffe: no bundle of the trust domains")
	}
	return pool, nil
}

// ServerTLS is the configuration of a server that shows its SVID and verifies
// those of clients: against the bundle of their own trust domain, and the profile
// of X.509-SVIDs beyond what is common, with one ID, digital signatures in a
// critical key usage and both extended usages when there are any. New
// certificates and bundles hold from the next handshake.
//
// It is an error when SVID, Bundles or TrustDomains are missing, or a name is
// none.
func ServerTLS(opts TLSOptions) (*tls.Config, error) {
	if opts.SVID == nil {
		return nil, errors.New("spiffe: a server needs an SVID")
	}
	v, err := newVerifier(opts)
	if err != nil {
		return nil, err
	}
	base := &tls.Config{
		MinVersion:       tls.VersionTLS12,
		NextProtos:       []string{"h2", "http/1.1"},
		GetCertificate:   tlsconfig.GetCertificate(opts.SVID),
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        x509.NewCertPool(), // nobody, without forClient
		VerifyConnection: v.verify,
	}
	if opts.ClientCertOptional {
		base.ClientAuth = tls.VerifyClientCertIfGiven
	}
	outer := base.Clone() // its session ticket keys outlive the bundles
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := v.authorities()
		if err != nil {
			return nil, err
		}
		config := base.Clone()
		config.ClientCAs = pool
		return config, nil
	}
	return outer, nil
}

// ClientTLS is the configuration of a client that verifies a server's SVID as
// [ServerTLS] does clients', whatever the name of the server's host is: name the
// servers by IDs. It shows its own SVID when it has one.
//
// It is an error when Bundles or TrustDomains are missing, or a name is none.
func ClientTLS(opts TLSOptions) (*tls.Config, error) {
	opts.ClientCertOptional = false
	v, err := newVerifier(opts)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // what it skips looks at names of hosts; VerifyConnection looks at the ID
		VerifyConnection:   v.verify,
	}
	if opts.SVID != nil {
		config.GetClientCertificate = tlsconfig.GetClientCertificate(opts.SVID)
	}
	return config, nil
}
