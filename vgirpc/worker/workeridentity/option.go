package workeridentity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
)

// Options are what a program sets, where a flag says nothing else. The zero
// value works.
type Options struct {
	// Tokens says which JSON Web Tokens are taken: none without Issuers.
	Tokens jwt.Options
	// Certificates says which client certificates name callers: none without a
	// Source.
	Certificates mtls.Options
	// Proof says whether a proxy has to prove that requests come through it.
	Proof proof.Options
	// Providers are asked for evidence beside those of the flags.
	Providers []peer.Provider
	// Link is that of peer.AllOfOptions. --peer-policy all needs it.
	Link func(application vgirpc.Identity, subjects map[string]peer.Identity) error
	// Workload is the Workload API; see package workerspiffe. Its flags are not
	// there when it is zero.
	Workload Workload
}

// Option is the option of a worker.
type Option struct {
	opts    Options
	flags   *pflag.FlagSet // of the worker
	own     []string       // those that are declared here
	setup   *worker.Setup
	plugged bool
	sources sources
	gates   []*proof.Gate // one, or none

	leeway, skew               float64
	jwksURL                    string
	principal, form, element   string
	fingerprints               []string
	proofMode, proofSecrets    string
	spiffe                     string
	trustDomains, allowIDs     []string
	workload                   string
	clientOptional             bool
	audiences                  []string
	tailscale, tailnet, socket string
	policy                     string
}

// New returns the option.
func New(opts Options) *Option { return &Option{opts: opts} }

// In returns http with this option in it: whatever http does itself comes first,
// so that nothing goes around a gate. Without it the flags are an error.
func (o *Option) In(http workerhttp.Options) workerhttp.Options {
	o.plugged = true
	http.Prepare = inTurn(http.Prepare, o.prepare)
	http.Configure = inTurn(http.Configure, o.guard)
	http.Connect = inTurn(http.Connect, o.connect)
	before := http.Proofs
	http.Proofs = func() (gates []*proof.Gate) {
		if before != nil {
			gates = before()
		}
		return append(slices.Clip(gates), o.gates...)
	}
	return http
}

// inTurn is two hooks, of which the first one may be nil.
func inTurn[T any](first, second func(context.Context, *T) error) func(context.Context, *T) error {
	if first == nil {
		return second
	}
	return func(ctx context.Context, t *T) error {
		if err := first(ctx, t); err != nil {
			return err
		}
		return second(ctx, t)
	}
}

// AddFlags declares the flags.
func (o *Option) AddFlags(flags *pflag.FlagSet) {
	own := pflag.NewFlagSet("identity", pflag.ContinueOnError)
	o.addTokens(own)
	o.addCertificates(own)
	o.addProof(own)
	o.addEvidence(own)
	own.VisitAll(func(f *pflag.Flag) {
		o.own = append(o.own, f.Name)
		flags.AddFlag(f)
	})
	o.flags = flags
	worker.TrustedProxies(flags, "forwarded-cert", "spiffe", "tailscale")
}

func (o *Option) addTokens(flags *pflag.FlagSet) {
	t := &o.opts.Tokens
	flags.StringArray("jwt-issuer", nil, "let HTTP callers in with JSON Web Tokens of the issuer at `URL`; may be repeated")
	flags.StringArrayVar(&t.Audiences, "jwt-audience", t.Audiences, "`NAME` of this service in the tokens; may be repeated")
	flags.StringVar(&o.jwksURL, "jwt-jwks-url", "", "`URL` of the issuer's keys (default found by discovery)")
	flags.StringSliceVar(&t.Algorithms, "jwt-algorithms", t.Algorithms, "`LIST` of the algorithms that signatures may have (default those of RSA, ECDSA and EdDSA)")
	flags.Float64Var(&o.leeway, "jwt-leeway", 0, "let the clocks of an issuer and of this worker be `SECONDS` apart, 0 for not at all (default 30)")
	flags.StringVar(&t.PrincipalClaim, "jwt-principal-claim", t.PrincipalClaim, "claim `NAME` of the tokens that names the caller (default sub)")
	flags.StringArrayVar(&t.RequiredScopes, "jwt-scope", t.RequiredScopes, "`SCOPE` that tokens need; may be repeated")
	flags.BoolVar(&t.AllowHTTP, "jwt-allow-http", t.AllowHTTP, "let URLs of issuers be http:, where whoever is on the way can issue tokens")
}

func (o *Option) addCertificates(flags *pflag.FlagSet) {
	c := &o.opts.Certificates
	flags.StringVar(&o.principal, "mtls-principal", string(c.Name),
		"`NAME` in a client certificate that is the HTTP caller: common_name, subject_dn, spiffe_id, uri, dns or sha256")
	flags.StringArrayVar(&c.Allow, "mtls-allow", c.Allow, "let `PRINCIPAL` of a client certificate in and no other; may be repeated")
	flags.StringArrayVar(&o.fingerprints, "mtls-fingerprint", nil, "take the client certificate with the SHA-256 `HEX` and no other; may be repeated")
	flags.StringArrayVar(&c.TrustDomains, "mtls-trust-domain", c.TrustDomains, "SPIFFE trust `DOMAIN` of client certificates; may be repeated")
	flags.StringVar(&o.form, "forwarded-cert", "", "believe --trusted-proxy what client certificate it forwards, in the `FORM` "+
		"xfcc, pem, client-cert, fingerprint, subject or google-spiffe")
	flags.StringVar(&c.Header, "forwarded-cert-header", c.Header, "header `NAME` that has it, instead of the form's own")
	flags.StringVar(&c.VerifyHeader, "forwarded-cert-verify-header", c.VerifyHeader, "header `NAME` that has what came of verifying it (default X-SSL-Client-Verify)")
	flags.BoolVar(&c.ProxyVerifies, "forwarded-cert-proxy-verifies", c.ProxyVerifies, "the proxy has no such header, and forwards what it has verified alone")
	flags.StringVar(&o.element, "forwarded-cert-element", string(c.Element), "take the `ELEMENT` only, last or first of an xfcc (default only)")
}

func (o *Option) addProof(flags *pflag.FlagSet) {
	p := &o.opts.Proof
	flags.StringVar(&o.proofMode, "proxy-proof", string(p.Mode), "`MODE` for proofs that HTTP requests come through a proxy: off, allow or require")
	flags.StringVar(&p.OriginID, "proxy-proof-origin", p.OriginID, "`ID` of this service that proofs are made for")
	flags.StringVar(&o.proofSecrets, "proxy-proof-secrets", "", "`KEYS` of proofs, kid:hex with commas between")
	worker.Secret(flags, "proxy-proof-secrets")
	worker.AlsoEnvironment(flags, "proxy-proof-secrets", "VGI_PROXY_PROOF_SECRETS")
	worker.AlsoEnvironment(flags, "proxy-proof-secrets-file", "VGI_PROXY_PROOF_SECRETS_FILE")
	flags.Float64Var(&o.skew, "proxy-proof-skew", 0, "let the clocks of a proxy and of this worker be `SECONDS` apart (default 30)")
}

func (o *Option) addEvidence(flags *pflag.FlagSet) {
	flags.StringVar(&o.spiffe, "spiffe", "", "look for SPIFFE IDs in the `FORM` direct, envoy, nginx, alb, google or azure")
	flags.StringArrayVar(&o.trustDomains, "spiffe-trust-domain", nil, "SPIFFE trust `DOMAIN` whose workloads count; may be repeated")
	flags.StringArrayVar(&o.allowIDs, "spiffe-allow-id", nil, "let the SPIFFE `ID` in and no other; may be repeated")
	if o.opts.Workload.X509 != nil {
		flags.StringVar(&o.workload, "spiffe-workload-api", "", "serve HTTPS with certificates of the SPIFFE Workload API, at `ADDR` if given")
		worker.OptionalValue(flags, "spiffe-workload-api", fromEnvironment)
		flags.BoolVar(&o.clientOptional, "spiffe-client-optional", false, "let clients in without a certificate, too")
	}
	if o.opts.Workload.JWT != nil {
		flags.StringArrayVar(&o.audiences, "spiffe-jwt-audience", nil, "let HTTP callers in with JWT-SVIDs for `NAME`; may be repeated")
	}
	flags.StringVar(&o.tailscale, "tailscale", "", "find out who calls over a tailnet, from the headers of Tailscale `serve` or from the local daemon")
	flags.StringVar(&o.tailnet, "tailscale-issuer", "", "`NAME` for the tailnet, such as tailnet:example.com")
	flags.StringVar(&o.socket, "tailscale-socket", "", "`PATH` of the daemon's socket (default /var/run/tailscale/tailscaled.sock)")
	flags.StringVar(&o.policy, "peer-policy", "", "what evidence counts for: the `POLICY` observe, require:NAME, primary:NAME, any:NAME,… or all:NAME,…")
}

// Apply refuses flags that have no effect.
func (o *Option) Apply(_ context.Context, setup *worker.Setup) error {
	o.setup = setup
	if !o.changed("http") {
		return o.unused()
	}
	if given := o.firstGiven(worker.File); given != "" && !o.plugged {
		return fmt.Errorf("--%s: this program does not give its workerhttp.Options to Option.In of package workeridentity", given)
	}
	if err := o.readIssuers(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	_, err := worker.TrustedProxiesOf(o.flags)
	return err
}

// unused refuses flags of HTTP without HTTP. What environment and file say is
// meant for many workers.
func (o *Option) unused() error {
	if given := o.firstGiven(worker.CommandLine); given != "" {
		return fmt.Errorf("--%s: only HTTP has that: add --http", given)
	}
	return nil
}

// firstGiven is the first flag that has a value from least or a greater source,
// "" for none.
func (o *Option) firstGiven(least worker.Source) string {
	for _, name := range o.own {
		if source, _ := worker.OriginOf(o.flags, name); source >= least {
			return name
		}
	}
	return ""
}

func (o *Option) changed(name string) bool {
	f := o.flags.Lookup(name)
	return f != nil && f.Changed
}

// needs are flags that are of no use without another thing.
type needs struct {
	there bool
	want  string
	flags []string
}

// check refuses flags that depend on others which are not there.
func (o *Option) check() error {
	evidence := o.spiffe != "" || o.workload != "" || o.tailscale != "" || len(o.opts.Providers) > 0
	for _, n := range []needs{
		{
			len(o.opts.Tokens.Issuers) > 0, "--jwt-issuer",
			[]string{"jwt-audience", "jwt-jwks-url", "jwt-algorithms", "jwt-leeway", "jwt-principal-claim", "jwt-scope", "jwt-allow-http"},
		},
		{
			o.opts.Certificates.Source != "" || o.principal != "" || o.form != "", "--mtls-principal or --forwarded-cert",
			[]string{"mtls-allow", "mtls-fingerprint", "mtls-trust-domain"},
		},
		{
			o.form != "", "--forwarded-cert",
			[]string{"forwarded-cert-header", "forwarded-cert-verify-header", "forwarded-cert-proxy-verifies", "forwarded-cert-element"},
		},
		{o.form == "xfcc", "--forwarded-cert xfcc", []string{"forwarded-cert-element"}},
		{
			o.proofMode != "", "--proxy-proof",
			[]string{"proxy-proof-origin", "proxy-proof-skew"},
		},
		{o.spiffe != "" || o.workload != "" || len(o.audiences) > 0, "--spiffe", []string{"spiffe-trust-domain"}},
		{o.spiffe != "" || o.workload != "", "--spiffe", []string{"spiffe-allow-id"}},
		{o.workload != "", "--spiffe-workload-api", []string{"spiffe-client-optional", "spiffe-jwt-audience"}},
		{o.tailscale != "", "--tailscale", []string{"tailscale-issuer"}},
		{o.tailscale == "local", "--tailscale local", []string{"tailscale-socket"}},
		{evidence, "--spiffe or --tailscale", []string{"peer-policy"}},
	} {
		for _, name := range n.flags {
			if o.changed(name) && !n.there {
				return fmt.Errorf("--%s is nothing without %s", name, n.want)
			}
		}
	}
	if evidence && o.policy == "" {
		return errors.New("--peer-policy is missing: say what the evidence of callers counts for, observe if for nothing")
	}
	if o.proofMode == "" && o.proofSecrets != "" {
		// A worker whose secrets are there and whose gate is not is open.
		return errors.New("--proxy-proof is missing: there are secrets of proofs, so say require, allow or off")
	}
	return nil
}

// prepare puts the callers' own credentials beside whom the program lets in.
func (o *Option) prepare(ctx context.Context, handler *httpserver.Options) error {
	if err := o.openSources(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		flag string
		make func(context.Context) (auth.Authenticator, error)
	}{
		{"--mtls-principal", o.certificates},
		{"--jwt-issuer", o.tokens},
		{"--spiffe-jwt-audience", o.workloadTokens},
	} {
		a, err := part.make(ctx)
		if err == nil && a != nil {
			if _, certificates := a.(*mtls.Authenticator); !certificates && handler.Challenge == "" && handler.OAuth == nil {
				handler.Challenge = "Bearer"
			}
			handler.Auth, err = beside(handler.Auth, a)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part.flag, err)
		}
	}
	return nil
}

// beside is an alternative to what is there, which may be nil.
func beside(first, second auth.Authenticator) (auth.Authenticator, error) {
	if first == nil {
		return second, nil
	}
	return auth.Any(first, second)
}

// guard puts evidence and the proof of proxies around all credentials.
func (o *Option) guard(ctx context.Context, handler *httpserver.Options) error {
	if err := o.weigh(ctx, handler); err != nil {
		return err
	}
	p := o.opts.Proof
	var err error
	if p.Mode, err = proof.ParseMode(o.proofMode); err != nil {
		return fmt.Errorf("--proxy-proof: %w", err)
	}
	if p.Mode == proof.Off {
		return nil
	}
	if o.proofSecrets != "" {
		if p.Keys, err = proof.ParseKeys(strings.TrimSpace(o.proofSecrets)); err != nil {
			return fmt.Errorf("--proxy-proof-secrets: %w", err)
		}
	}
	if o.changed("proxy-proof-skew") {
		if p.Skew = seconds(o.skew); p.Skew <= 0 {
			return fmt.Errorf("--proxy-proof-skew %v: want a positive number of seconds", o.skew)
		}
	}
	if p.Logger == nil {
		p.Logger = o.setup.Server().Logger()
	}
	gate, err := proof.New(p)
	if err != nil {
		return fmt.Errorf("--proxy-proof: %w", err)
	}
	o.gates = []*proof.Gate{gate}
	if handler.Auth, err = gate.Guard(handler.Auth); err != nil {
		return fmt.Errorf("--proxy-proof: %w", err)
	}
	return nil
}

// seconds is a number of seconds; what is none becomes negative.
func seconds(n float64) time.Duration {
	const most = 1e9
	if !(n >= 0 && n <= most) { // NaN is neither
		return -1
	}
	return time.Duration(n * float64(time.Second))
}
