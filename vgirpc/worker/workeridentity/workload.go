package workeridentity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/auth/spiffe/jwtsvid"
	"github.com/vgirpc/vgirpc-go/httpserver"
)

// fromEnvironment is --spiffe-workload-api without an address.
const fromEnvironment = "SPIFFE_ENDPOINT_SOCKET"

// firstSVID is how long the Workload API may take for its first answer.
const firstSVID = 30 * time.Second

// Workload is the SPIFFE Workload API, as package workerspiffe has it: a program
// that names it links gRPC. addr is where it listens, "" for what
// SPIFFE_ENDPOINT_SOCKET says.
type Workload struct {
	X509 func(ctx context.Context, addr string, log *slog.Logger) (X509Source, error)
	JWT  func(ctx context.Context, addr string, log *slog.Logger) (JWTSource, error)
}

// X509Source has the worker's certificate and the bundles that it trusts.
type X509Source interface {
	x509svid.Source
	x509bundle.Source
	Close() error
}

// JWTSource has the keys of JWT-SVIDs.
type JWTSource interface {
	jwtbundle.Source
	Close() error
}

// sources are where SVIDs come from.
type sources struct {
	x509          X509Source
	jwt           JWTSource
	wantsVerified bool // client certificates, by TLS
}

// openSources asks the Workload API for what flags want of it.
func (o *Option) openSources(ctx context.Context) error {
	if o.workload == "" {
		return nil
	}
	addr := o.workload
	if addr == fromEnvironment {
		addr = ""
	}
	log := o.setup.Server().Logger()
	within, cancel := context.WithTimeout(ctx, firstSVID)
	defer cancel()
	var err error
	if o.sources.x509, err = o.opts.Workload.X509(within, addr, log); err != nil {
		return fmt.Errorf("--spiffe-workload-api: no certificate within %v: %w", firstSVID, err)
	}
	x509 := o.sources.x509
	o.setup.AtExit(func(context.Context) error { return x509.Close() })
	o.setup.Ready("spiffe-workload-api", func(context.Context) error {
		svid, err := x509.GetX509SVID()
		if err == nil && time.Now().After(svid.Certificates[0].NotAfter) {
			err = errors.New("the certificate has expired, and the Workload API has sent no other")
		}
		return err
	})
	if len(o.audiences) == 0 {
		return nil
	}
	if o.sources.jwt, err = o.opts.Workload.JWT(within, addr, log); err != nil {
		return fmt.Errorf("--spiffe-jwt-audience: no keys within %v: %w", firstSVID, err)
	}
	keys := o.sources.jwt
	o.setup.AtExit(func(context.Context) error { return keys.Close() })
	return nil
}

// workloadTokens is who takes JWT-SVIDs, nil for nobody.
func (o *Option) workloadTokens(context.Context) (auth.Authenticator, error) {
	if o.sources.jwt == nil {
		return nil, nil //nolint:nilnil // as documented
	}
	return jwtsvid.New(jwtsvid.Options{Bundles: o.sources.jwt, Audience: o.audiences, TrustDomains: o.trustDomains})
}

// connect makes the connections speak TLS with SVIDs, and refuses to wait for
// certificates that would never come.
func (o *Option) connect(_ context.Context, serve *httpserver.ServeOptions) error {
	if o.sources.x509 == nil {
		if o.sources.wantsVerified && !verifiesClients(serve) {
			return errors.New("--mtls-principal and --spiffe direct want --tls-client-ca: nobody would be asked for a certificate")
		}
		return nil
	}
	switch {
	case serve.TLS != nil || serve.TLSConfig != nil:
		return errors.New("--spiffe-workload-api and --tls-cert exclude each other: the worker has one certificate")
	case o.sources.wantsVerified:
		return errors.New("--mtls-principal and --spiffe-workload-api exclude each other: SPIFFE IDs are evidence, see --peer-policy")
	}
	opts := spiffe.TLSOptions{
		SVID: o.sources.x509, Bundles: o.sources.x509, TrustDomains: o.trustDomains, ClientCertOptional: o.clientOptional,
	}
	if len(o.allowIDs) > 0 {
		opts.IDs = o.allowIDs
	}
	var err error
	if serve.TLSConfig, err = spiffe.ServerTLS(opts); err != nil {
		return fmt.Errorf("--spiffe-workload-api (with --spiffe-trust-domain): %w", err)
	}
	return nil
}

// verifiesClients reports whether clients' certificates are asked for and
// verified.
func verifiesClients(serve *httpserver.ServeOptions) bool {
	if serve.TLS != nil {
		return serve.TLS.ClientCAFile != ""
	}
	c := serve.TLSConfig
	return c != nil && (c.ClientAuth >= tls.VerifyClientCertIfGiven || c.GetConfigForClient != nil)
}
