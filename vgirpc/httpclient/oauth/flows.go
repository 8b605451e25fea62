package oauth

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// signIn runs the flow that the options and the issuer have in common.
func (c *Client) signIn(ctx context.Context, d *discovered) (*Record, error) {
	browser := d.server.AuthorizationEndpoint != "" && d.server.allows("authorization_code")
	device := d.server.DeviceEndpoint != "" && d.server.allows(deviceGrant)
	flow := c.opts.Flow
	if flow == Auto {
		switch {
		case c.opts.OpenBrowser != nil && browser:
			flow = Browser
		case c.opts.ShowCode != nil && device:
			flow = Device
		}
	}
	switch {
	case flow == ClientCredentials:
		return c.clientCredentials(ctx, d)
	case flow == Browser && browser:
		r, err := c.browser(ctx, d)
		if errors.Is(err, errNoBrowser) && c.opts.Flow == Auto && c.opts.ShowCode != nil && device {
			return c.device(ctx, d)
		}
		return r, err
	case flow == Device && device:
		return c.device(ctx, d)
	}
	return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s has %s: there is no way to sign in that both sides have", d.server.Issuer, flowsOf(browser, device))
}

func flowsOf(browser, device bool) string {
	switch {
	case browser && device:
		return "logins with a browser and with a device code"
	case browser:
		return "logins with a browser alone"
	case device:
		return "logins with a device code alone"
	}
	return "no login for persons"
}

// clientCredentials signs the program itself in.
func (c *Client) clientCredentials(ctx context.Context, d *discovered) (*Record, error) {
	r := c.record(d, credentials{c.opts.ClientID, c.opts.ClientSecret})
	return c.exchange(ctx, "login", r, r.TokenEndpoint, c.client(r), c.credentialsForm(r.Scope))
}

func (c *Client) credentialsForm(scope string) url.Values {
	form := url.Values{}
	maps.Copy(form, c.opts.Params)
	form.Set("grant_type", "client_credentials")
	if scope != "" {
		form.Set("scope", scope)
	}
	return form
}

// exchange gets a record's tokens.
func (c *Client) exchange(ctx context.Context, op string, r *Record, endpoint string, who credentials, form url.Values) (*Record, error) {
	var answer tokenResponse
	if err := c.post(ctx, op, endpoint, who, form, &answer); err != nil {
		return nil, err
	}
	return r, r.fill(&answer, time.Now())
}

// deviceAnswer is the answer of a device authorization endpoint (RFC 8628
// section 3.2). Some issuers call the URI an URL.
type deviceAnswer struct {
	DeviceCode  string   `json:"device_code"`
	UserCode    string   `json:"user_code"`
	URI         string   `json:"verification_uri"`
	URL         string   `json:"verification_url"`
	URIComplete string   `json:"verification_uri_complete"`
	ExpiresIn   *seconds `json:"expires_in"`
	Interval    *seconds `json:"interval"`
}

// What the device flow does where the issuer does not say.
const (
	deviceLifetime = 5 * time.Minute
	devicePause    = 5 * time.Second
	deviceSlower   = 5 * time.Second
	deviceRetries  = 3
)

// device signs a person in on another device (RFC 8628).
func (c *Client) device(ctx context.Context, d *discovered) (*Record, error) {
	who := c.deviceClient(d)
	if who.id == "" {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s names no client to sign in as: set Options.ClientID", c.key.Resource)
	}
	r := c.record(d, who)
	form := url.Values{}
	maps.Copy(form, c.opts.Params)
	form.Set("scope", r.Scope)
	var code deviceAnswer
	if err := c.post(ctx, "device code", d.server.DeviceEndpoint, who, form, &code); err != nil {
		return nil, err
	}
	expires := time.Now().Add(code.ExpiresIn.duration(deviceLifetime))
	ctx, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	if err := c.show(ctx, d, &code, expires); err != nil {
		return nil, err
	}
	// The server's own token endpoint passes on no device codes: it is the issuer
	// that is asked, by the client that the code is for.
	poll := url.Values{"grant_type": {deviceGrant}, "device_code": {code.DeviceCode}}
	return c.poll(ctx, d, r, who, poll, code.Interval.duration(devicePause))
}

// show checks an answer and shows the code.
func (c *Client) show(ctx context.Context, d *discovered, code *deviceAnswer, expires time.Time) error {
	if code.URI == "" {
		code.URI = code.URL
	}
	if code.DeviceCode == "" || code.UserCode == "" || code.URI == "" || !printable(code.UserCode) {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s answered without a device code, a user code and a verification URI", d.server.Issuer)
	}
	if _, err := secure("verification URI", code.URI); err != nil {
		return err
	}
	if code.URIComplete != "" {
		if _, err := secure("verification URI", code.URIComplete); err != nil {
			return err
		}
	}
	name := redact(d.resource.Name, nil)
	if name == "" {
		name = c.server.Host
	}
	return c.opts.ShowCode(ctx, DeviceCode{
		Server: name, URL: code.URI, URLComplete: code.URIComplete, UserCode: code.UserCode, Expires: expires,
	})
}

// poll asks for the tokens until the person has decided.
func (c *Client) poll(ctx context.Context, d *discovered, r *Record, who credentials, form url.Values, pause time.Duration) (*Record, error) {
	failures := 0
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, deviceTimeout(ctx)
		}
		got, err := c.exchange(ctx, "login", r, d.server.TokenEndpoint, who, form)
		var refused *Error
		switch isRefusal := errors.As(err, &refused); {
		case err == nil:
			return got, nil
		case ctx.Err() != nil:
			return nil, deviceTimeout(ctx)
		case isRefusal && refused.Code == codePending:
			failures = 0
		case isRefusal && (refused.Code == codeSlowDown || refused.Status == 429):
			failures, pause = 0, pause+deviceSlower
		case isRefusal && refused.Code == codeExpired:
			return nil, vgirpc.Errorf(vgirpc.DeadlineExceeded, "oauth: nobody entered the code in time: log in again: %w", refused)
		case isRefusal && refused.Code == codeDenied:
			return nil, vgirpc.Errorf(vgirpc.PermissionDenied, "oauth: the login was denied: %w", refused)
		case vgirpc.CodeOf(err) == vgirpc.Unavailable && failures < deviceRetries:
			failures++
		default:
			return nil, err
		}
	}
}

func deviceTimeout(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return vgirpc.Errorf(vgirpc.DeadlineExceeded, "oauth: nobody entered the code in time: log in again")
	}
	return vgirpc.ContextError(ctx)
}
