package workload

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Options configure [Open].
type Options struct {
	// Addr is where the Workload API listens, as in
	// "unix:///run/spire/agent.sock". When empty it is what the environment
	// variable SPIFFE_ENDPOINT_SOCKET says.
	Addr string
	// ID is the SPIFFE ID to be known by, for agents that issue several; the
	// first when empty.
	ID string
	// Logger is told when the agent cannot be reached; nobody is when nil.
	Logger *slog.Logger

	backoff workloadapi.BackoffStrategy // nil: 1 s, then longer, up to 30 s
}

// Source has the workload's SVID and the bundles that it trusts, always those
// that the Workload API has sent last. It is an [x509svid.Source] and an
// [x509bundle.Source]; many may use it at once.
type Source struct{ x509 *workloadapi.X509Source }

// Open connects to the Workload API and waits until it has sent an SVID. It tries
// again until ctx ends, which has no effect afterwards. The caller closes the
// source.
func Open(ctx context.Context, opts Options) (*Source, error) {
	options := []workloadapi.X509SourceOption{workloadapi.WithClientOptions(opts.client()...)}
	if opts.ID != "" {
		id, err := spiffeid.FromString(opts.ID)
		if err != nil {
			return nil, fmt.Errorf("workload: the SPIFFE ID %q: %w", opts.ID, err)
		}
		options = append(options, workloadapi.WithDefaultX509SVIDPicker(func(all []*x509svid.SVID) *x509svid.SVID {
			for _, svid := range all {
				if svid.ID == id {
					return svid
				}
			}
			return nil // GetX509SVID says so
		}))
	}
	source, err := workloadapi.NewX509Source(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("workload: the Workload API: %w", err)
	}
	return &Source{source}, nil
}

// GetX509SVID is the SVID of now. It is an error when the agent does not issue
// the one that was asked for, or the source is closed.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) { return s.x509.GetX509SVID() }

// GetX509BundleForTrustDomain is the bundle of now. It is an error when there is
// none, or the source is closed.
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.x509.GetX509BundleForTrustDomain(d)
}

// Updated receives after every update. One that nobody has received stands for
// all that came since.
func (s *Source) Updated() <-chan struct{} { return s.x509.Updated() }

// Close ends the connection to the Workload API. The source has nothing from then
// on.
func (s *Source) Close() error { return s.x509.Close() }

// JWTSource fetches JWT-SVIDs, and has the keys of those of others, always those
// that the Workload API has sent last. It is a [jwtbundle.Source] for package
// auth/spiffe/jwtsvid; many may use it at once.
type JWTSource struct {
	jwt *workloadapi.JWTSource
	id  spiffeid.ID
}

// OpenJWT is [Open] for JWT-SVIDs.
func OpenJWT(ctx context.Context, opts Options) (*JWTSource, error) {
	s := &JWTSource{}
	var err error
	if opts.ID != "" {
		if s.id, err = spiffeid.FromString(opts.ID); err != nil {
			return nil, fmt.Errorf("workload: the SPIFFE ID %q: %w", opts.ID, err)
		}
	}
	if s.jwt, err = workloadapi.NewJWTSource(ctx, workloadapi.WithClientOptions(opts.client()...)); err != nil {
		return nil, fmt.Errorf("workload: the Workload API: %w", err)
	}
	return s, nil
}

// GetJWTBundleForTrustDomain is the bundle of now. It is an error when there is
// none, or the source is closed.
func (s *JWTSource) GetJWTBundleForTrustDomain(d spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	return s.jwt.GetJWTBundleForTrustDomain(d)
}

// Token fetches a JWT-SVID for a service that has the name audience, for a client
// to present as a bearer token, and until when it is good. It is fetched anew
// with every call: keep it for a part of that time.
func (s *JWTSource) Token(ctx context.Context, audience string) (token string, until time.Time, err error) {
	svid, err := s.jwt.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: s.id})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("workload: the Workload API: %w", err)
	}
	return svid.Marshal(), svid.Expiry, nil
}

// Updated receives after every update. One that nobody has received stands for
// all that came since.
func (s *JWTSource) Updated() <-chan struct{} { return s.jwt.Updated() }

// Close ends the connection to the Workload API. The source has nothing from then
// on.
func (s *JWTSource) Close() error { return s.jwt.Close() }

// client are the options of the library's client.
func (o Options) client() []workloadapi.ClientOption {
	var client []workloadapi.ClientOption
	if o.Addr != "" {
		client = append(client, workloadapi.WithAddr(o.Addr))
	}
	if o.Logger != nil {
		client = append(client, workloadapi.WithLogger(logger{o.Logger}))
	}
	if o.backoff != nil {
		client = append(client, workloadapi.WithBackoffStrategy(o.backoff))
	}
	return client
}

// logger is the library's, on top of ours. It tells of outages, never of keys.
type logger struct{ log *slog.Logger }

func (l logger) Debugf(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l logger) Infof(format string, args ...any)  { l.write(slog.LevelInfo, format, args) }
func (l logger) Warnf(format string, args ...any)  { l.write(slog.LevelWarn, format, args) }
func (l logger) Errorf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }

func (l logger) write(level slog.Level, format string, args []any) {
	l.log.LogAttrs(context.Background(), level, "SPIFFE Workload API", slog.String("event", fmt.Sprintf(format, args...)))
}
