package workeridentity

import (
	"context"
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// readIssuers takes the issuers of flags in place of the program's.
func (o *Option) readIssuers() error {
	if !o.changed("jwt-issuer") {
		return nil
	}
	names, err := o.flags.GetStringArray("jwt-issuer")
	if err != nil {
		return err
	}
	if o.jwksURL != "" && len(names) != 1 {
		return fmt.Errorf("--jwt-jwks-url is of one issuer, and there are %d of --jwt-issuer: leave it out, to find keys by discovery", len(names))
	}
	o.opts.Tokens.Issuers = nil
	for _, name := range names {
		o.opts.Tokens.Issuers = append(o.opts.Tokens.Issuers, jwt.Issuer{Name: name, JWKSURL: o.jwksURL})
	}
	return nil
}

// tokens is who takes JSON Web Tokens, nil for nobody. An issuer that cannot be
// reached makes the worker not ready, and is no error.
func (o *Option) tokens(ctx context.Context) (auth.Authenticator, error) {
	t := o.opts.Tokens
	if len(t.Issuers) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	if len(t.Audiences) == 0 {
		return nil, errors.New("--jwt-audience is missing: tokens for other services would be good here")
	}
	if o.changed("jwt-leeway") {
		switch t.Leeway = seconds(o.leeway); {
		case t.Leeway < 0:
			return nil, fmt.Errorf("--jwt-leeway %v: want a number of seconds", o.leeway)
		case t.Leeway == 0:
			t.Leeway = -1 // none, as the option has it
		}
	}
	if t.Logger == nil {
		t.Logger = o.setup.Server().Logger()
	}
	a, err := jwt.New(ctx, t)
	if err != nil {
		return nil, err
	}
	o.setup.Ready("jwt-issuer", func(context.Context) error { return a.Ready() })
	o.setup.AtExit(func(context.Context) error {
		a.Close()
		return nil
	})
	return a, nil
}

// forms are the values of --forwarded-cert.
func forms(name string) (mtls.Source, bool) {
	switch name {
	case "xfcc":
		return mtls.XFCC, true
	case "pem":
		return mtls.EscapedPEM, true
	case "client-cert":
		return mtls.ClientCert, true
	case "fingerprint":
		return mtls.Fingerprint, true
	case "subject":
		return mtls.Subject, true
	case "google-spiffe":
		return mtls.GoogleSPIFFE, true
	}
	return "", false
}

// certificates is who takes client certificates, nil for nobody.
func (o *Option) certificates(context.Context) (auth.Authenticator, error) {
	c := o.opts.Certificates
	switch {
	case o.form != "":
		var ok bool
		if c.Source, ok = forms(o.form); !ok {
			return nil, fmt.Errorf("--forwarded-cert %q: want xfcc, pem, client-cert, fingerprint, subject or google-spiffe", o.form)
		}
		proxies, err := worker.TrustedProxiesOf(o.flags)
		if err != nil {
			return nil, err
		}
		if len(proxies) > 0 {
			c.Proxies = proxies
		}
		if len(c.Proxies) == 0 {
			return nil, errors.New("--forwarded-cert wants --trusted-proxy: anybody could send the header")
		}
	case o.principal != "" && c.Source == "":
		c.Source = mtls.Direct
	case c.Source == "":
		return nil, nil //nolint:nilnil // as documented
	}
	c.Name, c.Element = mtls.Name(o.principal), mtls.Element(o.element)
	if len(o.fingerprints) > 0 {
		c.Fingerprints = map[string]string{}
	}
	for _, digits := range o.fingerprints {
		c.Fingerprints[digits] = ""
	}
	o.sources.wantsVerified = c.Source == mtls.Direct
	return mtls.New(c)
}
