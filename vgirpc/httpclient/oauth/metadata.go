package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// resourceMetadata is a protected resource's document (RFC 9728), with the
// fields that this protocol adds.
type resourceMetadata struct {
	Resource     string   `json:"resource"`
	Servers      []string `json:"authorization_servers"`
	Scopes       []string `json:"scopes_supported"`
	Name         string   `json:"resource_name"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	DeviceID     string   `json:"device_code_client_id"`
	DeviceSecret string   `json:"device_code_client_secret"`
	UseIDToken   bool     `json:"use_id_token_as_bearer"`
	// TokenEndpoint is the server's own, which adds the secret and passes on.
	TokenEndpoint string `json:"token_endpoint"`
}

// serverMetadata is an authorization server's document (RFC 8414, OpenID
// Connect Discovery).
type serverMetadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	GrantTypes            []string `json:"grant_types_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	IssuerInResponse      bool     `json:"authorization_response_iss_parameter_supported"`
}

// allows reports whether the server has a grant; one that lists none has all.
func (m *serverMetadata) allows(grant string) bool {
	return len(m.GrantTypes) == 0 || slices.Contains(m.GrantTypes, grant)
}

// discovered is what a login needs to know.
type discovered struct {
	resource resourceMetadata
	server   serverMetadata
	// challengeID and challengeScope are what the challenge said.
	challengeID, challengeScope string
	// pins are those that it was found out with.
	pins pins
}

// pins are what the server is not asked for.
type pins struct{ issuer, client, resource string }

// pins are those of the options, and of a record where they have none; nil is no
// record.
func (c *Client) pins(r *Record) pins {
	p := pins{c.opts.Issuer, c.opts.ClientID, c.opts.Resource}
	if r == nil {
		return p
	}
	if p.issuer == "" && r.Pinned.Issuer {
		p.issuer = r.Issuer
	}
	if p.client == "" && r.Pinned.Client {
		p.client = r.ClientID
	}
	if p.resource == "" {
		p.resource = r.Pinned.Resource
	}
	return p
}

// discover finds out whom to ask for tokens: from the challenge, from where
// RFC 9728 says that the document is, or from the issuer that is pinned.
func (c *Client) discover(ctx context.Context, challenge Challenge, pinned pins) (*discovered, error) {
	d := &discovered{challengeID: challenge.Params["client_id"], challengeScope: challenge.Params["scope"], pins: pinned}
	found, err := c.resource(ctx, challenge.Params["resource_metadata"], d)
	if err != nil {
		return nil, err
	}
	issuer := pinned.issuer
	switch {
	case !found && issuer == "":
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition,
			"oauth: %s does not say who issues its tokens (no protected resource metadata): set Options.Issuer", c.key.Resource)
	case !found:
	case issuer != "" && !slices.Contains(d.resource.Servers, issuer):
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition,
			"oauth: %s does not take tokens of %s, the issuer that was set (Options.Issuer, or at the login that is stored): sign in again, or set another",
			c.key.Resource, issuer)
	case issuer == "" && len(d.resource.Servers) == 0:
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the metadata of %s names no authorization server", c.key.Resource)
	case issuer == "":
		issuer = d.resource.Servers[0]
	}
	return d, c.issuer(ctx, issuer, &d.server)
}

// resource gets the resource's document, and checks that it is this server's: a
// document of another one would have us send it tokens that are not for it.
func (c *Client) resource(ctx context.Context, announced string, d *discovered) (bool, error) {
	places := c.wellKnown()
	if announced != "" {
		u, err := secure("resource_metadata of the challenge", announced)
		if err != nil {
			return false, err
		}
		if !sameOrigin(u, c.server) {
			return false, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s says that its metadata are at %s: want them on its own host", c.key.Resource, place(u))
		}
		places = []*url.URL{u}
	}
	for _, from := range places {
		found, err := c.document(ctx, from, &d.resource)
		if err != nil {
			return false, err
		}
		if found {
			return true, errors.Join(c.checkResource(&d.resource, d.pins.resource), c.checkTokenEndpoint(&d.resource))
		}
	}
	if announced != "" {
		return false, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: there are no metadata at %s, where the server says they are", place(places[0]))
	}
	return false, nil
}

// wellKnown are the places of the resource's document: of the server's path, and
// of its host.
func (c *Client) wellKnown() []*url.URL {
	const document = "/.well-known/oauth-protected-resource"
	root := &url.URL{Scheme: c.server.Scheme, Host: c.server.Host, Path: document}
	path := strings.TrimSuffix(c.server.EscapedPath(), "/")
	if path == "" {
		return []*url.URL{root}
	}
	return []*url.URL{root.JoinPath(path), root}
}

// checkResource compares the resource of a document with the server: the same
// origin, and a path that the server's begins with (RFC 9728 section 3.3), unless
// another name is pinned.
func (c *Client) checkResource(m *resourceMetadata, pinned string) error {
	if pinned != "" {
		if m.Resource != pinned {
			return vgirpc.Errorf(vgirpc.FailedPrecondition,
				"oauth: the metadata are those of %.200q, and not of %s, the resource that was set (Options.Resource, or at the login that is stored): sign in again, or set another",
				m.Resource, pinned)
		}
		return nil
	}
	u, err := url.Parse(m.Resource)
	if err == nil && sameOrigin(u, c.server) {
		within := strings.TrimSuffix(u.EscapedPath(), "/")
		path := strings.TrimSuffix(c.server.EscapedPath(), "/")
		if path == within || strings.HasPrefix(path, within+"/") {
			return nil
		}
	}
	return vgirpc.Errorf(vgirpc.FailedPrecondition,
		"oauth: the metadata are those of %.200q, and not of %s: call it by that name, or set Options.Resource", m.Resource, c.key.Resource)
}

// checkTokenEndpoint makes sure that the token endpoint of a resource is its own.
func (c *Client) checkTokenEndpoint(m *resourceMetadata) error {
	if m.TokenEndpoint == "" {
		return nil
	}
	u, err := secure("token_endpoint of the server", m.TokenEndpoint)
	if err != nil {
		return err
	}
	if resource, err := url.Parse(m.Resource); !sameOrigin(u, c.server) && (err != nil || !sameOrigin(u, resource)) {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s would have its tokens fetched from %s, which is another host", c.key.Resource, place(u))
	}
	return nil
}

// issuer gets the document of an authorization server and checks that it is its
// own (RFC 8414 section 3.3).
func (c *Client) issuer(ctx context.Context, issuer string, m *serverMetadata) error {
	u, err := secure("issuer", issuer)
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	places := []*url.URL{root.JoinPath(path, ".well-known/openid-configuration"), root.JoinPath(".well-known/oauth-authorization-server", path)}
	for _, from := range places {
		*m = serverMetadata{}
		found, err := c.document(ctx, from, m)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if strings.TrimSuffix(m.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
			return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the metadata at %s are those of another issuer, %.200q", place(from), m.Issuer)
		}
		if m.TokenEndpoint == "" {
			return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the metadata at %s have no token_endpoint", place(from))
		}
		return nil
	}
	return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s has no metadata", place(u))
}

// deviceClient is the client of the device flow: the one that is meant for it
// with its own secret, or else the ordinary one.
func (c *Client) deviceClient(d *discovered) credentials {
	switch {
	case c.opts.ClientID != "":
		return credentials{c.opts.ClientID, c.opts.ClientSecret}
	case d.resource.DeviceID != "":
		return credentials{d.resource.DeviceID, d.resource.DeviceSecret}
	}
	return c.ordinaryClient(d)
}

// ordinaryClient is the client of the other flows. A challenge names a client
// and never its secret.
func (c *Client) ordinaryClient(d *discovered) credentials {
	switch {
	case c.opts.ClientID != "":
		return credentials{c.opts.ClientID, c.opts.ClientSecret}
	case d.resource.ClientID != "":
		return credentials{d.resource.ClientID, d.resource.ClientSecret}
	}
	return credentials{d.challengeID, d.resource.ClientSecret}
}

// scope is what to ask for.
func (c *Client) scope(d *discovered) string {
	switch {
	case len(c.opts.Scopes) > 0:
		return strings.Join(c.opts.Scopes, " ")
	case d.challengeScope != "":
		return d.challengeScope
	case len(d.resource.Scopes) > 0:
		return strings.Join(d.resource.Scopes, " ")
	case c.opts.Flow == ClientCredentials:
		return ""
	}
	return "openid"
}

// record begins the record of a login. Codes and refresh tokens go to the
// server's own token endpoint where it has one, without a secret: that is what
// it is for.
func (c *Client) record(d *discovered, who credentials) *Record {
	r := &Record{
		Issuer: d.server.Issuer, ClientID: who.id, TokenEndpoint: d.server.TokenEndpoint,
		RevocationEndpoint: d.server.RevocationEndpoint, Scope: c.scope(d), UseIDToken: d.resource.UseIDToken,
		Pinned: Pinned{Issuer: c.opts.Issuer != "", Client: c.opts.ClientID != "", Resource: c.opts.Resource},
	}
	switch {
	case d.resource.TokenEndpoint != "" && c.opts.ClientSecret == "":
		r.TokenEndpoint = d.resource.TokenEndpoint
	case c.opts.ClientSecret == "":
		r.ClientSecret = who.secret
	}
	return r
}

// client is who refreshes a record.
func (c *Client) client(r *Record) credentials {
	if c.opts.ClientSecret != "" && c.opts.ClientID == r.ClientID {
		return credentials{r.ClientID, c.opts.ClientSecret}
	}
	return credentials{r.ClientID, r.ClientSecret}
}

// announces reports whether the server still names the issuer and client of a
// record. One that names no client has none to change, and a pinned one is not the
// server's to name.
func (c *Client) announces(d *discovered, r *Record) bool {
	ordinary, device := c.ordinaryClient(d).id, c.deviceClient(d).id
	if d.pins.client != "" {
		ordinary, device = d.pins.client, d.pins.client
	}
	return r.Issuer == d.server.Issuer && (r.ClientID == ordinary || r.ClientID == device || ordinary == "" && device == "")
}
