package workeroauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/oauth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Options are what a program sets, where a flag says nothing else. The zero
// value works.
type Options struct {
	// OAuth is the sign-in and the metadata. Its Prefix is that of the handler.
	OAuth oauth.Options
	// Tokens says which tokens are taken. Its Issuers are the authorization
	// servers of OAuth unless it has some.
	Tokens jwt.Options
}

// Option is the option of a worker.
type Option struct {
	opts    Options
	flags   *pflag.FlagSet
	setup   *worker.Setup
	secret  string // paths
	keyFile string
}

// New returns the option.
func New(opts Options) *Option { return &Option{opts: opts} }

const flagPrefix = "oauth-"

// AddFlags declares the flags.
func (o *Option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	a, t := &o.opts.OAuth, &o.opts.Tokens
	flags.StringArrayVar(&a.AuthorizationServers, "oauth-issuer", a.AuthorizationServers, "let HTTP callers in with tokens of the issuer at `URL`; may be repeated")
	flags.StringVar(&a.Resource, "oauth-resource", a.Resource, "`URL` of this service as its callers know it")
	flags.StringArrayVar(&t.Audiences, "oauth-audience", t.Audiences,
		"`NAME` of this service in tokens; may be repeated (default the resource, and the client with --oauth-id-token)")
	flags.StringArrayVar(&a.Scopes, "oauth-scope", a.Scopes, "`SCOPE` that signing in asks for; may be repeated (default openid and email)")
	flags.StringVar(&a.ClientID, "oauth-client-id", a.ClientID, "let people sign in with a browser, as this client `ID` of the first issuer")
	flags.StringVar(&o.secret, "oauth-client-secret-file", "", "secret of that client, in the file at `PATH`")
	flags.BoolVar(&a.ClientSecretBasic, "oauth-client-secret-basic", a.ClientSecretBasic, "send the secret in a header, and not in the form")
	flags.BoolVar(&a.PublishSecrets, "oauth-publish-secret", a.PublishSecrets, "tell the secret to everybody who asks")
	flags.BoolVar(&a.UseIDToken, "oauth-id-token", a.UseIDToken, "take id_tokens for bearer tokens")
	flags.StringArrayVar(&a.FrontendOrigins, "oauth-frontend", a.FrontendOrigins, "give tokens to pages of `ORIGIN`; may be repeated")
	flags.BoolVar(&a.EndSession, "oauth-end-session", a.EndSession, "sign people out at the issuer as well")
	flags.StringVar(&o.keyFile, "oauth-key-file", "", "keys of sign-ins, in the file at `PATH`, which replicas share")
	flags.BoolVar(&a.AllowHTTP, "oauth-allow-http", a.AllowHTTP, "let URLs be http:, where whoever is on the way can be anybody")
}

// Apply refuses flags that have no effect. What environment and file say is meant
// for many workers: without HTTP only the command line counts.
func (o *Option) Apply(_ context.Context, setup *worker.Setup) error {
	o.setup = setup
	if http := o.flags.Lookup("http"); http == nil || !http.Changed {
		if given := o.firstGiven(worker.CommandLine); given != "" {
			return fmt.Errorf("%s is nothing without --http", given)
		}
		return nil
	}
	// A worker that is told how to sign people in, and not where, would be open.
	if given := o.firstGiven(worker.File); given != "" && len(o.opts.OAuth.AuthorizationServers) == 0 {
		return fmt.Errorf("%s is nothing without --oauth-issuer", given)
	}
	return nil
}

// firstGiven is where the first flag has its value from that has it from least or a
// greater source, "" for none.
func (o *Option) firstGiven(least worker.Source) (given string) {
	o.flags.Visit(func(f *pflag.Flag) {
		if given != "" || !strings.HasPrefix(f.Name, flagPrefix) {
			return
		}
		if source, origin := worker.OriginOf(o.flags, f.Name); source >= least {
			given = origin
		}
	})
	return given
}

// missing reports a flag that others need.
func (o *Option) missing(a *oauth.Options) error {
	switch {
	case a.Resource == "":
		return errors.New("--oauth-resource is missing: give the URL of this service as its callers know it, such as https://api.example/vgi")
	case o.secret != "" && a.ClientID == "":
		return errors.New("--oauth-client-secret-file is nothing without --oauth-client-id")
	case a.UseIDToken && a.ClientID == "" && len(o.opts.Tokens.Audiences) == 0:
		return errors.New("--oauth-id-token takes tokens that were issued to a client: name it with --oauth-client-id, or with --oauth-audience if it is another")
	}
	return nil
}

// Prepare puts tokens and sign-in into a handler's options, beside whom the
// program lets in. It is for workerhttp.Options.
func (o *Option) Prepare(ctx context.Context, handler *httpserver.Options) error {
	if len(o.opts.OAuth.AuthorizationServers) == 0 {
		return nil
	}
	a := o.opts.OAuth
	a.Prefix = handler.Prefix
	if a.Logger == nil {
		a.Logger = o.setup.Server().Logger()
	}
	if err := o.missing(&a); err != nil {
		return err
	}
	if err := o.readFiles(&a); err != nil {
		return err
	}
	if a.ClientID != "" && handler.Replicas > 1 && len(a.Keys) == 0 {
		return errors.New("--oauth-key-file is missing: a sign-in that begins at one replica could not end at another")
	}
	signIn, err := oauth.New(a)
	if err != nil {
		return err
	}
	tokens, err := o.tokens(ctx, a)
	if err != nil {
		return err
	}
	handler.OAuth, handler.Challenge = signIn, ""
	if handler.Auth == nil {
		handler.Auth = tokens
		return nil
	}
	if handler.Auth, err = auth.Any(handler.Auth, tokens); err != nil {
		return fmt.Errorf("--oauth-issuer: %w", err)
	}
	return nil
}

// tokens is who takes the tokens of the issuers.
func (o *Option) tokens(ctx context.Context, a oauth.Options) (*jwt.Authenticator, error) {
	t := o.opts.Tokens
	if len(t.Issuers) == 0 {
		for _, name := range a.AuthorizationServers {
			t.Issuers = append(t.Issuers, jwt.Issuer{Name: name})
		}
	}
	if len(t.Audiences) == 0 {
		t.Audiences = []string{a.Resource}
		if a.UseIDToken {
			t.Audiences = []string{a.ClientID}
		}
	}
	t.AllowHTTP = t.AllowHTTP || a.AllowHTTP
	if t.Logger == nil {
		t.Logger = a.Logger
	}
	tokens, err := jwt.New(ctx, t)
	if err != nil {
		return nil, err
	}
	o.setup.Ready("oauth-issuer", func(context.Context) error { return tokens.Ready() })
	o.setup.AtExit(func(context.Context) error {
		tokens.Close()
		return nil
	})
	return tokens, nil
}

// readFiles reads what must not stand on a command line.
func (o *Option) readFiles(a *oauth.Options) error {
	if o.secret != "" {
		content, err := os.ReadFile(o.secret)
		if err != nil {
			return fmt.Errorf("--oauth-client-secret-file: %w", err)
		}
		if a.ClientSecret = strings.TrimSpace(string(content)); a.ClientSecret == "" {
			return errors.New("--oauth-client-secret-file: the file is empty")
		}
	}
	if o.keyFile != "" {
		content, err := os.ReadFile(o.keyFile)
		if err != nil {
			return fmt.Errorf("--oauth-key-file: %w", err)
		}
		if a.Keys, err = oauth.ParseKeys(string(content)); err != nil {
			return fmt.Errorf("--oauth-key-file: %w", err)
		}
	}
	return nil
}
