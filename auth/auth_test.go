package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func request(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// part is an authenticator that always answers the same, and counts.
type part struct {
	id      vgirpc.Identity
	err     error
	headers []string
	calls   int
}

func (p *part) Authenticate(*http.Request) (vgirpc.Identity, error) {
	p.calls++
	return p.id, p.err
}

func (p *part) ProxyHeaders() []string { return p.headers }

// gate is a gate that always answers the same.
type gate struct {
	key     string
	claims  map[string]string
	err     error
	headers []string
}

func (g *gate) Admit(*http.Request) (map[string]string, error) { return g.claims, g.err }
func (g *gate) ClaimKey() string                               { return g.key }
func (g *gate) ProxyHeaders() []string                         { return g.headers }

// gateAndMore is the type that should not exist.
type gateAndMore struct {
	*gate
	*part
}

func (gateAndMore) ProxyHeaders() []string { return nil }

func failure(reason auth.Reason) *auth.Failure { return &auth.Failure{Reason: reason} }

func named(name string) *part {
	return &part{id: vgirpc.Identity{Principal: name, Domain: "test", Authenticated: true}}
}

func TestReasonOf(t *testing.T) {
	for _, tt := range []struct {
		name    string
		err     error
		want    auth.Reason
		refused bool
	}{
		{"a failure has its reason", failure(auth.ExpiredCredential), auth.ExpiredCredential, true},
		{"a wrapped one too", fmt.Errorf("jwt: %w", failure(auth.InvalidCredential)), auth.InvalidCredential, true},
		{"a failure without a reason is unclassified", &auth.Failure{}, auth.Unauthorized, true},
		{"a reason outside the set is unclassified", failure("because"), auth.Unauthorized, true},
		{"a permission denied means insufficient scope", vgirpc.Errorf(vgirpc.PermissionDenied, "no"), auth.InsufficientScope, true},
		{"an unauthenticated is unclassified", vgirpc.Errorf(vgirpc.Unauthenticated, "no"), auth.Unauthorized, true},
		{"another code is a fault", vgirpc.Errorf(vgirpc.InvalidArgument, "no"), "", false},
		{"any other error is a fault", errors.New("nil map"), "", false},
		{"an outage is no refusal", &auth.Unavailable{}, "", false},
		{"not even inside a failure", &auth.Failure{Err: &auth.Unavailable{}}, "", false},
		{"no error is no refusal", nil, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, refused := auth.ReasonOf(tt.err)
			if got != tt.want || refused != tt.refused {
				t.Errorf("got %q, %t", got, refused)
			}
		})
	}
}

func TestErrorsKeepTheirCause(t *testing.T) {
	cause := errors.New("key set")
	for _, err := range []error{
		&auth.Failure{Reason: auth.InvalidCredential, Err: cause},
		&auth.Unavailable{RetryAfter: time.Second, Err: cause},
	} {
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "key set") {
			t.Errorf("%v", err)
		}
	}
	if got := (&auth.Unavailable{}).Error(); got != "authentication unavailable" {
		t.Error(got)
	}
}

func TestAny(t *testing.T) {
	fault := errors.New("fault")
	denied := vgirpc.Errorf(vgirpc.PermissionDenied, "known, not permitted")
	final := &auth.Failure{Reason: auth.ProxyRequired, Final: true}
	outage := &auth.Unavailable{}
	missing, invalid, expired := failure(auth.MissingCredential), failure(auth.InvalidCredential), failure(auth.ExpiredCredential)
	for _, tt := range []struct {
		name   string
		errs   []error // nil accepts
		want   string  // the principal
		reason auth.Reason
		is     error
		calls  []int
	}{
		{"the first that accepts wins", []error{nil, nil}, "0", "", nil, []int{1, 0}},
		{"a missing credential falls through", []error{missing, nil}, "1", "", nil, []int{1, 1}},
		{"a bad one does too", []error{invalid, expired, nil}, "2", "", nil, []int{1, 1, 1}},
		{"and an unauthenticated", []error{vgirpc.Errorf(vgirpc.Unauthenticated, "no"), nil}, "1", "", nil, []int{1, 1}},
		{"an outage stops", []error{missing, outage, nil}, "", "", outage, []int{1, 1, 0}},
		{"an outage inside a failure stops", []error{&auth.Failure{Err: outage}, nil}, "", "", outage, []int{1, 0}},
		{"a fault stops", []error{fault, nil}, "", "", fault, []int{1, 0}},
		{"a known caller who is not permitted stops", []error{denied, nil}, "", auth.InsufficientScope, denied, []int{1, 0}},
		{"a final failure stops", []error{final, nil}, "", auth.ProxyRequired, final, []int{1, 0}},
		{"also inside another failure", []error{&auth.Failure{Err: final}, nil}, "", auth.Unauthorized, final, []int{1, 0}},
		{"missing only if all agree", []error{missing, missing}, "", auth.MissingCredential, missing, []int{1, 1}},
		{"else the first other reason", []error{missing, expired, invalid}, "", auth.ExpiredCredential, invalid, []int{1, 1, 1}},
		{"one failure alone is itself", []error{invalid}, "", auth.InvalidCredential, invalid, []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var parts []*part
			var members []auth.Authenticator
			for i, err := range tt.errs {
				p := &part{err: err}
				if err == nil {
					p = named(strconv.Itoa(i))
				}
				parts, members = append(parts, p), append(members, p)
			}
			a, err := auth.Any(members...)
			if err != nil {
				t.Fatal(err)
			}
			id, err := a.Authenticate(request())
			if (err == nil) != (tt.is == nil && tt.reason == "") || id.Principal != tt.want {
				t.Fatalf("got %+v, %v", id, err)
			}
			if reason, _ := auth.ReasonOf(err); reason != tt.reason {
				t.Errorf("the reason is %q", reason)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			var calls []int
			for _, p := range parts {
				calls = append(calls, p.calls)
			}
			if diff := cmp.Diff(tt.calls, calls); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnyLooksForACredentialBeforeItLetsAnybodyIn(t *testing.T) {
	fault := errors.New("fault")
	outage := &auth.Unavailable{}
	missing, invalid, expired := &part{err: failure(auth.MissingCredential)}, &part{err: failure(auth.InvalidCredential)}, &part{err: failure(auth.ExpiredCredential)}
	open := &part{id: vgirpc.Identity{Domain: "open"}}
	nested, err := auth.Any(open, missing)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		members []auth.Authenticator
		want    vgirpc.Identity
		reason  auth.Reason
		is      error
	}{
		{"nobody presents anything", []auth.Authenticator{open, missing}, open.id, "", nil},
		{"in whatever order", []auth.Authenticator{missing, open, missing}, open.id, "", nil},
		{"the first that admits anybody counts", []auth.Authenticator{open, &part{id: vgirpc.Identity{Domain: "second"}}}, open.id, "", nil},
		{"a credential behind it is looked at", []auth.Authenticator{open, missing, named("ann")}, named("ann").id, "", nil},
		{"also when another is bad", []auth.Authenticator{open, invalid, named("ann")}, named("ann").id, "", nil},
		{"a bad one never makes a caller anonymous", []auth.Authenticator{open, invalid, missing}, vgirpc.Identity{}, auth.InvalidCredential, invalid.err},
		{"nor one in front", []auth.Authenticator{invalid, open}, vgirpc.Identity{}, auth.InvalidCredential, invalid.err},
		{"nor one that has expired", []auth.Authenticator{missing, expired, open}, vgirpc.Identity{}, auth.ExpiredCredential, expired.err},
		{"nor an outage", []auth.Authenticator{open, &part{err: outage}}, vgirpc.Identity{}, "", outage},
		{"nor a fault", []auth.Authenticator{open, &part{err: fault}}, vgirpc.Identity{}, "", fault},
		{"one inside another", []auth.Authenticator{nested, named("ann")}, named("ann").id, "", nil},
		{"nobody presents anything to one inside another", []auth.Authenticator{nested, missing}, open.id, "", nil},
		{"something bad beside one inside another", []auth.Authenticator{nested, invalid}, vgirpc.Identity{}, auth.InvalidCredential, invalid.err},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := auth.Any(tt.members...)
			if err != nil {
				t.Fatal(err)
			}
			id, err := a.Authenticate(request())
			if diff := cmp.Diff(tt.want, id); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if reason, _ := auth.ReasonOf(err); reason != tt.reason || !errors.Is(err, tt.is) {
				t.Errorf("got %v, want reason %q and %v", err, tt.reason, tt.is)
			}
		})
	}
}

func TestAnyShowsTheDetailOfTheReasonThatItReports(t *testing.T) {
	a, err := auth.Any(
		&part{err: &auth.Failure{Reason: auth.MissingCredential, Detail: "nothing sent"}},
		&part{err: &auth.Failure{Reason: auth.ExpiredCredential, Detail: "too old"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(request())
	var f *auth.Failure
	if !errors.As(err, &f) || f.Detail != "too old" {
		t.Errorf("%#v", err)
	}
}

func TestAnyRefusesWhatWouldGoAroundAGate(t *testing.T) {
	guarded, err := auth.All(&gate{key: "proxy"}, named("a"))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := auth.All(&gate{key: "other"}, guarded)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		members []auth.Authenticator
		want    string
	}{
		{"nothing", nil, "at least one"},
		{"a nil", []auth.Authenticator{named("a"), nil}, "authenticator 1 is nil"},
		{"a nil function", []auth.Authenticator{auth.Func(nil)}, "authenticator 0 is nil"},
		{"a gate in disguise", []auth.Authenticator{gateAndMore{&gate{key: "proxy"}, named("a")}}, `is the gate "proxy"`},
		{"a guarded alternative", []auth.Authenticator{named("b"), guarded}, `authenticator 1 is guarded by the gate "proxy"`},
		{"one guarded twice", []auth.Authenticator{nested}, `guarded by the gate "other"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.Any(tt.members...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAll(t *testing.T) {
	proved := map[string]string{"verified": "true"}
	caller := vgirpc.Identity{
		Principal: "ann", Domain: "jwt", Authenticated: true,
		Claims: map[string]any{"sub": "ann"},
	}
	forger := vgirpc.Identity{Principal: "eve", Claims: map[string]any{"proxy": "mine", "sub": "eve"}}
	for _, tt := range []struct {
		name  string
		gate  *gate
		inner auth.Authenticator
		want  vgirpc.Identity
	}{
		{
			"the caller is inner's and the gate's claims are merged", &gate{key: "proxy", claims: proved}, &part{id: caller},
			vgirpc.Identity{
				Principal: "ann", Domain: "jwt", Authenticated: true,
				Claims: map[string]any{"sub": "ann", "proxy": proved},
			},
		},
		{"a gate with nothing to say adds nothing", &gate{key: "proxy"}, &part{id: caller}, caller},
		{
			"without an inner the caller is anonymous", &gate{key: "proxy", claims: proved}, nil,
			vgirpc.Identity{Claims: map[string]any{"proxy": proved}},
		},
		{
			"a credential cannot set the gate's claim", &gate{key: "proxy", claims: proved}, &part{id: forger},
			vgirpc.Identity{Principal: "eve", Claims: map[string]any{"sub": "eve", "proxy": proved}},
		},
		{
			"not even when the gate sets none", &gate{key: "proxy"}, &part{id: forger},
			vgirpc.Identity{Principal: "eve", Claims: map[string]any{"sub": "eve"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := auth.All(tt.gate, tt.inner)
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Authenticate(request())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(map[string]any{"sub": "ann"}, caller.Claims); diff != "" {
		t.Errorf("the authenticator's own claims were changed: %s", diff)
	}
	if diff := cmp.Diff(map[string]any{"proxy": "mine", "sub": "eve"}, forger.Claims); diff != "" {
		t.Errorf("the authenticator's own claims were changed: %s", diff)
	}
}

func TestAllStopsAtTheGate(t *testing.T) {
	fault, outage := errors.New("fault"), &auth.Unavailable{}
	for _, tt := range []struct {
		name    string
		err     error
		reason  auth.Reason
		refused bool
	}{
		{"a failure", &auth.Failure{Reason: auth.ProxyRequired, Err: fault}, auth.ProxyRequired, true},
		{"a failure inside another error", fmt.Errorf("gate: %w", &auth.Failure{Err: fault}), auth.Unauthorized, true},
		{"a code", vgirpc.Errorf(vgirpc.Unauthenticated, "no"), auth.Unauthorized, true},
		{"a denied permission", vgirpc.Errorf(vgirpc.PermissionDenied, "no"), auth.InsufficientScope, true},
		{"an outage", outage, "", false},
		{"a fault", fault, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner := named("a")
			a, err := auth.All(&gate{key: "proxy", err: tt.err}, inner)
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Authenticate(request())
			if reason, refused := auth.ReasonOf(err); reason != tt.reason || refused != tt.refused || !errors.Is(err, cause(tt.err)) {
				t.Errorf("%v: %q, %t", err, reason, refused)
			}
			if inner.calls != 0 {
				t.Error("inner was asked")
			}
			// Hidden from the check at construction, the gate still holds.
			next := named("b")
			hidden, err := auth.Any(auth.Func(a.Authenticate), next)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := hidden.Authenticate(request()); err == nil || next.calls != 0 {
				t.Errorf("the gate was gone around: %+v", id)
			}
		})
	}
}

// cause is what err goes back to.
func cause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

func TestAllKeepsTheDetailOfTheGate(t *testing.T) {
	a, err := auth.All(&gate{key: "proxy", err: &auth.Failure{Reason: auth.ProxyRequired, Detail: "no proxy"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(request())
	var f *auth.Failure
	if !errors.As(err, &f) || f.Detail != "no proxy" {
		t.Errorf("%#v", err)
	}
}

func TestAllIsCheckedAtConstruction(t *testing.T) {
	guarded, err := auth.All(&gate{key: "proxy"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		gate  auth.Gate
		inner auth.Authenticator
		want  string
	}{
		{"no gate", nil, named("a"), "needs a gate"},
		{"a gate without a key", &gate{}, named("a"), "no claim key"},
		{"a nil function", &gate{key: "proxy"}, auth.Func(nil), "nil Func"},
		{"the same key twice", &gate{key: "proxy"}, guarded, "share the claim key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := auth.All(tt.gate, tt.inner); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestProxyHeadersAreCarriedThroughComposition(t *testing.T) {
	either, err := auth.Any(named("plain"), &part{headers: []string{"X-Cert", "X-Chain"}}, &part{headers: []string{"X-Cert"}})
	if err != nil {
		t.Fatal(err)
	}
	both, err := auth.All(&gate{key: "proxy", headers: []string{"X-Proof"}}, either)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"X-Proof", "X-Cert", "X-Chain"}, auth.ProxyHeaders(both)); diff != "" {
		t.Error(diff)
	}
	plain := auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, nil })
	if got := auth.ProxyHeaders(plain); got != nil {
		t.Errorf("a function depends on %q", got)
	}
}

func ExampleAll() {
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "s3cret", Principal: "ann"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	guarded, err := auth.All(&gate{key: "proxy", err: &auth.Failure{Reason: auth.ProxyRequired}}, bearer)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range []auth.Authenticator{bearer, guarded} {
		id, err := a.Authenticate(request("Authorization", "Bearer s3cret"))
		fmt.Printf("%q, %v\n", id.Principal, err)
	}
	// Output:
	// "ann", <nil>
	// "", authentication rejected: proxy_required
}
