package peer_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/peer/iroh"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/auth/tailscale"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// readVectors hands each kind of case in a file of vectors to its test. A kind
// that has no test fails, and so does a test that has no cases.
func readVectors(t *testing.T, path string, kinds map[string]func(t *testing.T, raw json.RawMessage)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for kind := range file {
		if kinds[kind] == nil {
			t.Errorf("nothing tests the vectors %q", kind)
		}
	}
	for kind, test := range kinds {
		if raw, ok := file[kind]; ok {
			t.Run(kind, func(t *testing.T) { test(t, raw) })
		} else {
			t.Errorf("there are no vectors %q", kind)
		}
	}
}

// parse decodes cases, all of whose fields must be known.
func parse[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var out T
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func version(want int) func(t *testing.T, raw json.RawMessage) {
	return func(t *testing.T, raw json.RawMessage) {
		t.Helper()
		if got := parse[int](t, raw); got != want {
			t.Errorf("version %d: look at what has changed", got)
		}
	}
}

const proxyAddr = "192.0.2.1"

// from is a snapshot of a request from the proxy.
func from(addr string, header ...string) *peer.Snapshot {
	s := &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr(addr), Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		s.Header.Add(header[i], header[i+1])
	}
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type vector struct {
	Name      string            `json:"name"`
	Value     string            `json:"value"`
	Headers   map[string]string `json:"headers"`
	Expected  string            `json:"expected"`
	Stability string            `json:"subject_stability"`
}

func TestTransportIdentityVectors(t *testing.T) {
	options := spiffe.ProxyOptions{TrustDomains: []string{"example.org"}, Proxies: []string{proxyAddr}}
	google := must(spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{ProxyOptions: options}))
	envoy := must(spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: options}))
	serve := must(tailscale.Serve(tailscale.ServeOptions{Issuer: "tailnet:test", Proxies: []string{proxyAddr}}))
	check := func(t *testing.T, p peer.Provider, c vector, header ...string) {
		t.Helper()
		for name, value := range c.Headers {
			header = append(header, name, value)
		}
		got := p.Resolve(t.Context(), from(proxyAddr, header...))
		if string(got.Status) != c.Expected {
			t.Fatalf("got %s, want %s", got.Status, c.Expected)
		}
		if c.Stability != "" && string(must(peer.NewEvidence(map[string]peer.Result{p.Name(): got})).Identities(p.Name())[0].Stability) != c.Stability {
			t.Errorf("got %v, want stability %s", got.Identities, c.Stability)
		}
	}
	cases := func(test func(t *testing.T, c vector)) func(t *testing.T, raw json.RawMessage) {
		return func(t *testing.T, raw json.RawMessage) {
			t.Helper()
			for _, c := range parse[[]vector](t, raw) {
				t.Run(c.Name, func(t *testing.T) { test(t, c) })
			}
		}
	}
	readVectors(t, "../mtls/testdata/transport_identity_vectors.json", map[string]func(t *testing.T, raw json.RawMessage){
		"version":       version(2),
		"iroh_proxy_v2": irohVectors,
		"spiffe_id_cases": cases(func(t *testing.T, c vector) {
			t.Helper()
			if c.Expected == "valid" {
				c.Expected = "available"
			}
			check(t, google, c, "X-Client-Cert-Present", "true", "X-Client-Cert-Chain-Verified", "true", "X-Client-Cert-Spiffe-Id", c.Value)
		}),
		"envoy_xfcc_cases": cases(func(t *testing.T, c vector) {
			t.Helper()
			check(t, envoy, c, "X-Forwarded-Client-Cert", c.Value)
		}),
		"gcp_cases": cases(func(t *testing.T, c vector) {
			t.Helper()
			check(t, google, c)
		}),
		"tailscale_serve_cases": cases(func(t *testing.T, c vector) {
			t.Helper()
			check(t, serve, c)
		}),
	})
}

type irohCase struct {
	Name     string  `json:"name"`
	Endpoint *string `json:"endpoint_hex"`
	Twice    bool    `json:"duplicate"`
	Version  *int    `json:"payload_version"`
	Family   *int    `json:"family_protocol"`
	Expected string  `json:"expected"`
}

func irohVectors(t *testing.T, raw json.RawMessage) {
	t.Helper()
	v := parse[struct {
		TLV      int        `json:"tlv_type"`
		Version  int        `json:"payload_version"`
		Bytes    int        `json:"endpoint_bytes"`
		Family   int        `json:"family_protocol"`
		Encoding string     `json:"canonical_subject_encoding"`
		Cases    []irohCase `json:"cases"`
	}](t, raw)
	if v.TLV != iroh.TLVType || v.Family != iroh.FamilyProtocol || v.Encoding != "lowercase_hex" {
		t.Errorf("got %+v", v)
	}
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			payload, family := []byte{byte(v.Version)}, v.Family
			if c.Version != nil {
				payload[0] = byte(*c.Version)
			}
			if c.Family != nil {
				family = *c.Family
			}
			endpoint := strings.Repeat("5a", v.Bytes)
			if c.Endpoint != nil {
				endpoint = *c.Endpoint
			}
			payload = append(payload, must(hex.DecodeString(endpoint))...)
			tlvs := []iroh.TLV{{Type: 0x04, Value: []byte("noop")}, {Type: iroh.TLVType, Value: payload}}
			switch {
			case c.Twice:
				tlvs = append(tlvs, tlvs[1])
			case c.Name == "missing":
				tlvs = tlvs[:1]
			}
			got, err := iroh.Endpoint(byte(family), tlvs)
			if (err == nil) != (c.Expected == "available") {
				t.Errorf("got %q, %v", got, err)
			}
			if err == nil && got != endpoint {
				t.Errorf("got %q, want %q", got, endpoint)
			}
		})
	}
}

// fixture is the identity in the vectors.
type fixture struct {
	Provider             string         `json:"provider"`
	Source               string         `json:"evidence_source"`
	Assurance            peer.Assurance `json:"assurance"`
	Issuer               string         `json:"issuer"`
	Transport            string         `json:"transport"`
	Kind                 peer.Kind      `json:"subject_kind"`
	Subject              string         `json:"subject_key"`
	Stability            peer.Stability `json:"subject_stability"`
	Verified             bool           `json:"subject_verified"`
	Attributes           map[string]any `json:"attributes"`
	Capabilities         map[string]any `json:"capabilities"`
	CapabilitiesVerified bool           `json:"capabilities_verified"`
	SourceAddr           *string        `json:"source_address"`
	ProxyAddr            *string        `json:"proxy_address"`
}

func (f fixture) identity() peer.Identity {
	return peer.Identity{
		Provider: f.Provider, Source: f.Source, Assurance: f.Assurance, Issuer: f.Issuer, Transport: f.Transport,
		Kind: f.Kind, Subject: f.Subject, Stability: f.Stability, Verified: f.Verified,
		Attributes: must(peer.NewObject(f.Attributes)), Capabilities: must(peer.NewObject(f.Capabilities)),
		CapabilitiesVerified: f.CapabilitiesVerified,
	}
}

type policyCase struct {
	Name        string                 `json:"name"`
	Providers   []string               `json:"providers"`
	Statuses    map[string]peer.Status `json:"statuses"`
	First       *bool                  `json:"first_subject_eligible"`
	Count       int                    `json:"eligible_subject_count"`
	Application bool                   `json:"application_authenticated"`
	Provider    string                 `json:"expected_provider"`
	Expected    string                 `json:"expected"`
}

type invalidCase struct {
	Name     string          `json:"name"`
	Status   peer.Status     `json:"status"`
	Subject  json.RawMessage `json:"subject_key"`
	Limit    int             `json:"limit"`
	Expected string          `json:"expected"`
}

func TestPeerIdentityVectors(t *testing.T) {
	var identity peer.Identity
	expected := func(t *testing.T, raw json.RawMessage) {
		t.Helper()
		want := parse[struct {
			Principal string `json:"canonical_principal"`
			Binding   string `json:"binding_digest"`
		}](t, raw)
		if got := identity.Principal(); got != want.Principal {
			t.Errorf("got %s, want %s", got, want.Principal)
		}
		if got := evidenceOf(t, identity).Binding([]string{identity.Provider}, nil); got != want.Binding {
			t.Errorf("got %s, want %s", got, want.Binding)
		}
	}
	text := must(os.ReadFile("testdata/peer_identity_vectors.json"))
	first := must(parseFirst(text, "identity"))
	identity = parse[fixture](t, first).identity()
	readVectors(t, "testdata/peer_identity_vectors.json", map[string]func(t *testing.T, raw json.RawMessage){
		"version":  version(1),
		"identity": func(t *testing.T, raw json.RawMessage) { t.Helper(); parse[fixture](t, raw) },
		"expected": expected,
		"policy_cases": func(t *testing.T, raw json.RawMessage) {
			t.Helper()
			for _, c := range parse[[]policyCase](t, raw) {
				t.Run(c.Name, func(t *testing.T) { checkPolicy(t, c, identity) })
			}
		},
		"invalid_cases": func(t *testing.T, raw json.RawMessage) {
			t.Helper()
			for _, c := range parse[[]invalidCase](t, raw) {
				t.Run(c.Name, func(t *testing.T) { checkInvalid(t, c, identity) })
			}
		},
	})
}

func parseFirst(text []byte, kind string) (json.RawMessage, error) {
	var file map[string]json.RawMessage
	err := json.Unmarshal(text, &file)
	return file[kind], err
}

func evidenceOf(t *testing.T, identities ...peer.Identity) *peer.Evidence {
	t.Helper()
	e, err := peer.NewEvidence(map[string]peer.Result{
		identities[0].Provider: {Status: peer.Available, Identities: identities},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func checkPolicy(t *testing.T, c policyCase, identity peer.Identity) {
	t.Helper()
	results := map[string]peer.Result{}
	for i, name := range c.Providers {
		r := peer.Result{Status: c.Statuses[name]}
		if r.Status == peer.Available {
			one := identity
			one.Provider = name
			if i == 0 && c.First != nil && !*c.First {
				one.Subject, one.Stability, one.Verified = "", peer.NoStability, false
			}
			r.Identities = []peer.Identity{one}
			for n := 1; n < c.Count; n++ {
				one.Subject += "x"
				r.Identities = append(r.Identities, one)
			}
		}
		results[name] = r
	}
	policy := must(peer.AnyOf(c.Providers...))
	application := vgirpc.Identity{}
	if c.Application {
		application = vgirpc.Identity{Domain: "bearer", Principal: "alice", Authenticated: true}
	}
	id, err := policy.Decide(must(peer.NewEvidence(results)), application)
	if c.Expected == "invalid" {
		if reason, _ := auth.ReasonOf(err); reason != auth.InvalidCredential {
			t.Errorf("got %+v, %v", id, err)
		}
		return
	}
	if err != nil || id.Domain != c.Provider {
		t.Errorf("got %+v, %v", id, err)
	}
}

func checkInvalid(t *testing.T, c invalidCase, identity peer.Identity) {
	t.Helper()
	var err error
	switch c.Name {
	case "unknown_status":
		_, err = peer.NewEvidence(map[string]peer.Result{"spiffe": {Status: c.Status}})
	case "unpaired_high_surrogate":
		_, err = peer.ParseObject([]byte(`{"subject_key":` + string(c.Subject) + `}`))
		identity.Subject = "\xed\xa0\x80"
		if _, bytesErr := peer.NewEvidence(map[string]peer.Result{"spiffe": {Status: peer.Available, Identities: []peer.Identity{identity}}}); bytesErr == nil {
			t.Error("half of a surrogate pair in a subject was accepted")
		}
	case "json_depth_17", "json_values_4097", "json_bytes_65537":
		build := map[string]func(n int) map[string]any{"json_depth_17": nested, "json_values_4097": many, "json_bytes_65537": long}[c.Name]
		within, withinErr := peer.NewObject(build(c.Limit))
		if withinErr != nil {
			t.Errorf("at the limit: %v", withinErr)
		}
		if again, err := peer.ParseObject([]byte(within.JSON())); err != nil || again != within {
			t.Errorf("at the limit, read: %v", err)
		}
		_, err = peer.NewObject(build(c.Limit + 1))
		if _, readErr := peer.ParseObject(must(json.Marshal(build(c.Limit + 1)))); readErr == nil {
			t.Error("beyond the limit, read: no error")
		}
	default:
		t.Fatal("nothing tests this case")
	}
	if err == nil || c.Expected != "invalid" {
		t.Errorf("got no error, want %s", c.Expected)
	}
}

// nested has so many containers, each in the one before.
func nested(n int) map[string]any {
	out := map[string]any{}
	for range n - 1 {
		out = map[string]any{"a": out}
	}
	return out
}

// many has so many values.
func many(n int) map[string]any {
	list := make([]any, n-2)
	return map[string]any{"a": list}
}

// long has so many bytes.
func long(n int) map[string]any { return map[string]any{"a": strings.Repeat("x", n-len(`{"a":""}`))} }

func TestBindingDependsOnEvidenceAndNotOnAddresses(t *testing.T) {
	base := parse[fixture](t, must(parseFirst(must(os.ReadFile("testdata/peer_identity_vectors.json")), "identity"))).identity()
	digest := func(i peer.Identity) string { return evidenceOf(t, i).Binding([]string{i.Provider}, nil) }
	same := base
	same.SourceAddr, same.ProxyAddr, same.Until = "100.64.0.1:40001", "10.0.0.10", time.Now()
	if digest(base) != digest(same) {
		t.Error("the binding depends on addresses or time")
	}
	seen := map[string]string{digest(base): "nothing"}
	for name, change := range map[string]func(i *peer.Identity){
		"the provider":                 func(i *peer.Identity) { i.Provider = "other" },
		"the source":                   func(i *peer.Identity) { i.Source = "other" },
		"the assurance":                func(i *peer.Identity) { i.Assurance = peer.LocalDaemon },
		"the issuer":                   func(i *peer.Identity) { i.Issuer = "other" },
		"the transport":                func(i *peer.Identity) { i.Transport = "http" },
		"the kind":                     func(i *peer.Identity) { i.Kind = peer.User },
		"the subject":                  func(i *peer.Identity) { i.Subject = "other" },
		"the stability":                func(i *peer.Identity) { i.Stability = peer.Login },
		"whether it is verified":       func(i *peer.Identity) { i.Verified = false },
		"an attribute":                 func(i *peer.Identity) { i.Attributes = must(peer.NewObject(map[string]any{"a": "b"})) },
		"a capability":                 func(i *peer.Identity) { i.Capabilities = must(peer.NewObject(map[string]any{"a": "b"})) },
		"whether those are verified":   func(i *peer.Identity) { i.CapabilitiesVerified = true },
		"a part that moves to another": func(i *peer.Identity) { i.Issuer, i.Subject = i.Issuer+"s", i.Subject[1:] },
	} {
		changed := base
		change(&changed)
		d := digest(changed)
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s give the same binding", name, other)
		}
		seen[d] = name
	}
	e := evidenceOf(t, base)
	var bindings []string
	for _, application := range []*vgirpc.Identity{
		nil, {}, {Principal: "alice"}, {Principal: "bob"}, {Domain: "alice"}, {Domain: "a", Principal: "lice"},
	} {
		bindings = append(bindings, e.Binding([]string{base.Provider}, application))
	}
	bindings = append(bindings, e.Binding([]string{base.Provider, "absent"}, nil), e.Binding(nil, nil))
	for i, b := range bindings {
		for _, other := range bindings[:i] {
			if b == other {
				t.Errorf("binding %d is that of another", i)
			}
		}
	}
	if diff := cmp.Diff(e.Binding([]string{"x", base.Provider, "x"}, nil), e.Binding([]string{base.Provider, "x"}, nil)); diff != "" {
		t.Error("the binding depends on the order of providers: " + diff)
	}
}
