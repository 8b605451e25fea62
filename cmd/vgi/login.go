package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth/keyring"
)

// loginFlags are what the flags say of a login.
type loginFlags struct {
	device, browser          bool
	clientID, issuer, target string
	resource                 string
	scopes                   []string
}

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login [flags] URL",
		Short: "Sign in to a server that takes OAuth logins",
		Long: `Signs in at the issuer that the server names: with a browser of this machine, or
with a code to be entered on any device where there is none (over SSH, in a
container). From then on every command sends the token to this URL, and refreshes
it, unless --bearer, --bearer-file, --header Authorization or --no-login say
otherwise.

Tokens are kept in the system's keyring, or where there is none in files that
only you can read, in the directory vgi/logins of the user's configuration.`,
		Example: `  vgi login https://api.example.com/rpc
  vgi login --device https://api.example.com/rpc
  vgi logout https://api.example.com/rpc`,
		Args: oneURL,
		RunE: a.runs(func(ctx context.Context, args []string) error {
			f.target = args[0]
			return a.login(ctx, &f)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.device, "device", false, "show a code to be entered on any device, and open no browser")
	fs.BoolVar(&f.browser, "browser", false, "open a browser, even where none seems to be")
	fs.StringVar(&f.clientID, "client-id", "", "`ID` of the client to sign in as (default the one that the server names)")
	fs.StringVar(&f.issuer, "issuer", "", "`URL` of the issuer to sign in at (default the first that the server names)")
	fs.StringVar(&f.resource, "resource", "", "what the server calls itself in its metadata, where that is not `URL`")
	fs.StringArrayVar(&f.scopes, "scope", nil, "`SCOPE` to ask for; may be repeated (default those that the server names)")
	a.conn.registerLogin(fs)
	return cmd
}

func (a *app) logoutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logout URL",
		Short: "Forget the login of a server",
		Long:  `Forgets the tokens that 'vgi login' has stored, and has the issuer revoke them.`,
		Args:  oneURL,
		RunE: a.runs(func(ctx context.Context, args []string) error {
			c, err := a.conn.oauth(args[0], oauth.Options{})
			if err != nil {
				return err
			}
			return errors.Join(c.Logout(ctx), c.Close())
		}),
	}
	a.conn.registerLogin(cmd.Flags())
	return cmd
}

func oneURL(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("want a URL")
	}
	return nil
}

// login signs in and says who did.
func (a *app) login(ctx context.Context, f *loginFlags) error {
	if f.device && f.browser {
		return usagef("--device and --browser: want one of them")
	}
	opts := oauth.Options{ClientID: f.clientID, Issuer: f.issuer, Resource: f.resource, Scopes: f.scopes, ShowCode: a.showCode}
	switch {
	case f.device:
		opts.Flow = oauth.Device
	case f.browser:
		opts.Flow, opts.OpenBrowser = oauth.Browser, a.openBrowser
	case !headless(os.Getenv, runtime.GOOS):
		opts.OpenBrowser = a.openBrowser
	}
	c, err := a.conn.oauth(f.target, opts)
	if err != nil {
		return err
	}
	if err := c.Login(ctx); err != nil {
		return errors.Join(err, c.Close())
	}
	who := "Signed in"
	if id, ok := c.Identity(); ok {
		who += " as " + orElse(id.Email, id.Subject)
	}
	fmt.Fprintln(a.err, clean(who+"."))
	return c.Close()
}

func (a *app) showCode(_ context.Context, code oauth.DeviceCode) error {
	fmt.Fprintf(a.err, "To sign in to %s, open\n\n  %s\n\nand enter the code\n\n  %s\n\n", clean(code.Server), code.URL, code.UserCode)
	if code.URLComplete != "" {
		fmt.Fprintf(a.err, "or open %s\n", code.URLComplete)
	}
	fmt.Fprintf(a.err, "The code ends at %s.\n", code.Expires.Local().Format("15:04:05")) //nolint:gosmopolitan // a person reads it
	return nil
}

// openBrowser opens a URL with what the system has for that.
func (a *app) openBrowser(_ context.Context, to string) error {
	command := []string{"xdg-open", to}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open", to}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler", to}
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // the browser outlives this command
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie
	fmt.Fprintf(a.err, "Sign in with the browser. If none opens, go to\n\n  %s\n\n", to)
	return nil
}

// headless reports whether there is likely no browser that the person sees.
func headless(env func(string) string, goos string) bool {
	for _, name := range []string{"SSH_CONNECTION", "SSH_CLIENT", "DOCKER_CONTAINER", "KUBERNETES_SERVICE_HOST"} {
		if env(name) != "" {
			return true
		}
	}
	if _, err := os.Stat("/.dockerenv"); err == nil || env("CI") == "true" {
		return true
	}
	switch goos {
	case "windows":
		return false
	case "darwin":
		return env("TERM_PROGRAM") == "" && env("DISPLAY") == ""
	}
	return env("DISPLAY") == "" && env("WAYLAND_DISPLAY") == ""
}

// loginDir is where logins are kept, or notes of them.
func loginDir() (string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("logins: %w", err)
	}
	return filepath.Join(config, "vgi", "logins"), nil
}

// oneLogin keeps one login for each server, whichever client it is of: commands
// that use it name the server alone.
type oneLogin struct{ oauth.Store }

func server(key oauth.Key) oauth.Key { return oauth.Key{Resource: key.Resource} }

// Load implements [oauth.Store].
func (s oneLogin) Load(ctx context.Context, key oauth.Key) (*oauth.Record, error) {
	return s.Store.Load(ctx, server(key))
}

// Save implements [oauth.Store].
func (s oneLogin) Save(ctx context.Context, key oauth.Key, r *oauth.Record) error {
	return s.Store.Save(ctx, server(key), r)
}

// Delete implements [oauth.Store].
func (s oneLogin) Delete(ctx context.Context, key oauth.Key) error {
	return s.Store.Delete(ctx, server(key))
}

// Lock implements [oauth.Store].
func (s oneLogin) Lock(ctx context.Context, key oauth.Key) (func(), error) {
	return s.Store.Lock(ctx, server(key))
}

// oauth returns a client for the logins of a server, which the system keeps.
func (c *connection) oauth(target string, opts oauth.Options) (*oauth.Client, error) {
	if !isHTTP(target) {
		return nil, usagef("logins are for HTTP alone")
	}
	dir, err := loginDir()
	if err != nil {
		return nil, err
	}
	store, err := keyring.New(dir, keyring.Options{Fallback: true})
	if err != nil {
		return nil, err
	}
	opts.Store = oneLogin{store}
	if c.caCert != "" {
		config, err := c.tls()
		if err != nil {
			return nil, err
		}
		// The certificate and the name of the flags are for the server, and issuers
		// are others.
		opts.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: config.RootCAs},
		}
	}
	client, err := oauth.New(target, opts)
	if vgirpc.CodeOf(err) == vgirpc.InvalidArgument {
		return nil, &failure{exitUsage, err}
	}
	return client, err
}

// stored has the HTTP transport send the token of the login that is stored for
// the target. It is nil where there can be none.
func (c *connection) stored(target string, header http.Header) (func(http.RoundTripper) http.RoundTripper, error) {
	if c.noLogin || header.Get("Authorization") != "" {
		return nil, nil //nolint:nilnil // nothing to wrap
	}
	dir, err := loginDir()
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // nobody has signed in
	}
	source, err := c.oauth(target, oauth.Options{})
	if vgirpc.CodeOf(err) == vgirpc.InvalidArgument {
		return nil, nil //nolint:nilnil // a server that gets no token: over plain HTTP, say
	}
	if err != nil {
		return nil, err
	}
	return oauth.Authorize(target, source)
}

// loginHint says how to sign in where an error is a server's that takes logins.
func loginHint(err error) string {
	refused, ok := errors.AsType[*httpclient.UnauthorizedError](err)
	if !ok || !slices.ContainsFunc(oauth.ParseChallenges(refused.Challenges), func(c oauth.Challenge) bool {
		return c.Params["resource_metadata"] != ""
	}) {
		return ""
	}
	return "sign in with 'vgi login URL'"
}
