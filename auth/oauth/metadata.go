package oauth

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

const wellKnown = "/.well-known/oauth-protected-resource"

// document is the Protected Resource Metadata (RFC 9728 section 2), and after
// it what this protocol adds.
type document struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
	PolicyURI            string   `json:"resource_policy_uri,omitempty"`
	TermsURI             string   `json:"resource_tos_uri,omitempty"`

	ClientID           string `json:"client_id,omitempty"`
	ClientSecret       string `json:"client_secret,omitempty"`
	UseIDToken         bool   `json:"use_id_token_as_bearer,omitempty"`
	DeviceClientID     string `json:"device_code_client_id,omitempty"`
	DeviceClientSecret string `json:"device_code_client_secret,omitempty"`
	TokenEndpoint      string `json:"token_endpoint,omitempty"`
}

// describe is what everybody may know of the service.
func describe(o Options, base string) document {
	d := document{
		Resource: o.Resource, AuthorizationServers: o.AuthorizationServers, Scopes: o.Scopes, Name: o.Name,
		Documentation: o.Documentation, PolicyURI: o.PolicyURI, TermsURI: o.TermsURI,
		ClientID: o.ClientID, UseIDToken: o.UseIDToken, DeviceClientID: o.DeviceClientID,
	}
	if o.ClientSecret != "" {
		d.TokenEndpoint = base + tokenPath
	}
	if o.PublishSecrets {
		d.ClientSecret, d.DeviceClientSecret = o.ClientSecret, o.DeviceClientSecret
	}
	return d
}

// challenge is the WWW-Authenticate header of a refusal (RFC 9728 section 5.1)
// with the same parameters. None of the values needs escaping: [New] has seen
// to it.
func (d document) challenge(metadataURL string) string {
	var b strings.Builder
	b.WriteString(`Bearer resource_metadata="` + metadataURL + `"`)
	add := func(name, value string) {
		if value != "" {
			b.WriteString(", " + name + `="` + value + `"`)
		}
	}
	add("client_id", d.ClientID)
	add("client_secret", d.ClientSecret)
	if d.UseIDToken {
		add("use_id_token_as_bearer", "true")
	}
	add("device_code_client_id", d.DeviceClientID)
	add("device_code_client_secret", d.DeviceClientSecret)
	return b.String()
}

// hostMetadata prepares the document and the challenge.
func (s *Server) hostMetadata() (err error) {
	d := describe(s.opts, s.base)
	s.challenge = d.challenge(s.origin + s.metadataPath)
	s.metadata, err = json.Marshal(d) //nolint:gosec // with the secret if it is to be published
	return err
}

// Challenge is the value of WWW-Authenticate of every refusal: it leads clients
// to the metadata (RFC 9728 section 5.1).
func (s *Server) Challenge() string { return s.challenge }

// serveMetadata serves the document.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(s.metadata)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(s.metadata) // the peer may be gone
	}
}
