package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const jws = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"

// anybody resolves every token: what is refused, a guard has refused.
func anybody(context.Context, string) (TokenIdentity, bool, error) {
	return NewTokenIdentity("subject"), true, nil
}

func anyGrant(_ context.Context, r GrantRequest) (IssuedGrant, error) {
	return IssuedGrant{Token: "for " + r.Principal, ExpiresAt: time.Unix(1_893_456_000, 0).UTC(), GrantID: r.Purpose}, nil
}

func sealing(tb testing.TB) *grant.Keys {
	tb.Helper()
	k, err := grant.New(grant.Options{Keys: [][]byte{make([]byte, grant.KeySize)}})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// newServer is a server that has nothing of its own to offer.
func newServer(tb testing.TB) *vgirpc.Server {
	tb.Helper()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, vgirpc.NewProtocol("test.Empty.v1", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// dial is a client of a server with opts, on a byte stream whose other end is
// known to be caller.
func dial(t *testing.T, opts Options, caller vgirpc.Identity) *vgirpc.Client {
	t.Helper()
	s := newServer(t)
	if _, err := Host(s, opts); err != nil {
		t.Fatal(err)
	}
	near, far := vgirpc.NewPair()
	conn, err := s.NewConn(t.Context(), far, &vgirpc.Peer{Kind: vgirpc.TransportPipe, Identity: caller, UID: -1, PID: -1})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- conn.Serve() }()
	client := vgirpc.NewClient(near, vgirpc.ClientOptions{})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

func known(principal string) vgirpc.Identity {
	return vgirpc.Identity{Principal: principal, Domain: "test", Authenticated: true}
}

func signedIn(at any) vgirpc.Identity {
	id := known("ada")
	id.Claims = map[string]any{"auth_time": at}
	return id
}

func TestAMethodIsHostedOnlyWithItsFunction(t *testing.T) {
	const (
		both       = "145267755ff90d5c3313d79c7ff771306f2530626380d01cb0e57a951d0f9ec3"
		introspect = "4039fbf6db3e64ae234e0be605b977477150ace892f10b6c691920eaf925e7ac"
		issue      = "4199df7403c9ca1a02c4c524b405a999eb1489614a1480873ffc23a0e5b0d312"
	)
	for _, tt := range []struct {
		name string
		opts Options
		want []string // hash and methods; none for no protocol
	}{
		{"nothing, without functions", Options{}, nil},
		{"both", Options{ResolveToken: anybody, Introspectors: []string{"proxy"}, MintGrant: anyGrant}, []string{both, "introspect_token", "issue_grant"}},
		{"resolving alone", Options{ResolveToken: anybody, Introspectors: []string{"proxy"}}, []string{introspect, "introspect_token"}},
		{"minting alone", Options{MintGrant: anyGrant}, []string{issue, "issue_grant"}},
		{"sealed grants alone", Options{Grants: sealing(t)}, []string{issue, "issue_grant"}},
		{"resolving and sealed grants", Options{ResolveToken: anybody, Introspectors: []string{"proxy"}, Grants: sealing(t)}, []string{both, "introspect_token", "issue_grant"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			if _, err := Host(s, tt.opts); err != nil {
				t.Fatal(err)
			}
			if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
			hosted := s.Protocols()
			names := []string{"test.Empty.v1", vgirpc.ReflectionName}
			var got []string
			if len(tt.want) > 0 {
				names = append(names, Name)
				p := hosted[len(hosted)-1]
				hash, err := p.Hash()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, hash)
				for _, m := range p.Methods() {
					got = append(got, m.Name())
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("hash and methods (-want +got):\n%s", diff)
			}
			var order []string
			for _, p := range hosted {
				order = append(order, p.Name())
			}
			if diff := cmp.Diff(names, order); diff != "" {
				t.Errorf("hosted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsAreCheckedBeforeAnythingIsHosted(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"resolving for everybody", Options{ResolveToken: anybody}, "Introspectors is empty"},
		{"resolving for a list of nobody", Options{ResolveToken: anybody, Introspectors: []string{}}, "Introspectors is empty"},
		{"resolving for one without a name", Options{ResolveToken: anybody, Introspectors: []string{"proxy", ""}}, "principal is empty"},
		{"a list for nothing", Options{Introspectors: []string{"proxy"}, MintGrant: anyGrant}, "ResolveToken is missing"},
		{"a negative age", Options{MintGrant: anyGrant, MaxAuthAge: -1}, "MaxAuthAge"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			if _, err := Host(s, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if got := len(s.Protocols()); got != 2 {
				t.Errorf("%d protocols are hosted", got)
			}
		})
	}
	t.Run("hosted twice", func(t *testing.T) {
		s := newServer(t)
		if _, err := Host(s, Options{MintGrant: anyGrant}); err != nil {
			t.Fatal(err)
		}
		if _, err := Host(s, Options{MintGrant: anyGrant}); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server that serves", func(t *testing.T) {
		s := newServer(t)
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		if _, err := Host(s, Options{MintGrant: anyGrant}); err == nil || !strings.Contains(err.Error(), "begun to serve") {
			t.Errorf("got %v", err)
		}
	})
}

// answer is what of an error a caller sees.
type answer struct {
	Code                       vgirpc.Code
	Kind, Type, Message, Trace string
	Details                    []vgirpc.Detail
}

func answerOf(t *testing.T, err error) answer {
	t.Helper()
	var e *vgirpc.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error of the other side", err)
	}
	return answer{e.Code, e.Kind, e.Type, e.Message, e.Traceback, e.Details}
}

func TestTokensThatAreNotResolved(t *testing.T) {
	refusals := map[string]string{
		"a JWS":                          jws,
		"a JWS with nothing signed":      "a.b.",
		"a JWS and line ends":            jws + "\n\n",
		"nothing":                        "",
		"blanks":                         "\t\r\n",
		"a blank that is not ASCII":      "\u00a0\u0085",
		"too many bytes":                 strings.Repeat("a", MaxTokenBytes+1),
		"too many bytes, few characters": strings.Repeat("é", 2100),
		"too many blanks":                "x" + strings.Repeat(" ", 9000),
	}
	for _, space := range "\t\n\v\f\r \u0085\u00a0\u2003\u3000" {
		name := fmt.Sprintf("%U", space)
		refusals["a JWS after "+name] = string(space) + jws
		refusals["a JWS before "+name] = jws + string(space)
	}
	var asked atomic.Int32
	opts := Options{Introspectors: []string{"proxy"}, ResolveToken: func(ctx context.Context, token string) (TokenIdentity, bool, error) {
		asked.Add(1)
		id, _, err := anybody(ctx, token)
		return id, token != "unknown", err
	}}
	introspect := NewContract().IntrospectToken
	proxy, other := dial(t, opts, known("proxy")), dial(t, opts, known("other"))

	_, err := introspect.Call(t.Context(), proxy, IntrospectParams{"unknown"})
	unknown := answerOf(t, err)
	if unknown.Kind != KindTokenUnresolved || unknown.Code != vgirpc.NotFound || asked.Swap(0) != 1 {
		t.Fatalf("an unknown token: %+v", unknown)
	}
	if strings.Contains(unknown.Trace, "\n  at ") || strings.Contains(unknown.Trace, "caused by") {
		t.Errorf("the traceback tells where: %s", unknown.Trace)
	}
	for name, token := range refusals {
		t.Run(name, func(t *testing.T) {
			_, err := introspect.Call(t.Context(), proxy, IntrospectParams{token})
			if diff := cmp.Diff(unknown, answerOf(t, err)); diff != "" {
				t.Errorf("not as an unknown token (-want +got):\n%s", diff)
			}
			_, err = introspect.Call(t.Context(), other, IntrospectParams{token})
			if got := answerOf(t, err); got.Kind != KindIntrospectionRefused {
				t.Errorf("who may not ask learns %+v", got)
			}
			if asked.Swap(0) != 0 {
				t.Error("the application was asked")
			}
		})
	}
	for _, token := range []string{"opaque", "two.segments", "a.b.c.d", "a..c", ".b.c", "a.b.c!", "  padded  ", strings.Repeat("a", MaxTokenBytes)} {
		t.Run("but resolved is "+token[:min(12, len(token))], func(t *testing.T) {
			if _, err := introspect.Call(t.Context(), proxy, IntrospectParams{token}); err != nil || asked.Swap(0) != 1 {
				t.Error(err)
			}
		})
	}
}

func TestOnlyIntrospectorsMayAsk(t *testing.T) {
	opts := Options{ResolveToken: anybody, Introspectors: []string{"proxy", "gateway"}}
	unverified := vgirpc.Identity{Principal: "proxy"}
	for _, tt := range []struct {
		name   string
		caller vgirpc.Identity
		want   vgirpc.Code
	}{
		{"the first on the list", known("proxy"), ""},
		{"the second", known("gateway"), ""},
		{"somebody else", known("ada"), vgirpc.PermissionDenied},
		{"nobody", vgirpc.Identity{}, vgirpc.PermissionDenied},
		{"a name that nobody vouches for", unverified, vgirpc.PermissionDenied},
		{"nobody, vouched for", vgirpc.Identity{Authenticated: true}, vgirpc.PermissionDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NewContract().IntrospectToken.Call(t.Context(), dial(t, opts, tt.caller), IntrospectParams{"opaque"})
			if tt.want == "" {
				want := TokenIdentity{Principal: "subject", TTLSeconds: 300}
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%s, %v", diff, err)
				}
				return
			}
			if e := answerOf(t, err); e.Code != tt.want || e.Kind != KindIntrospectionRefused {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestWhatIsResolvedIsSentAsItIs(t *testing.T) {
	for _, want := range []TokenIdentity{
		{Principal: "p"}, // which must not be kept
		{Principal: "p", TTLSeconds: -1},
		{Principal: "p", TokenName: "laptop", TTLSeconds: 7},
	} {
		opts := Options{Introspectors: []string{"proxy"}, ResolveToken: func(_ context.Context, token string) (TokenIdentity, bool, error) {
			if token != " padded\t" {
				return TokenIdentity{}, false, nil
			}
			return want, true, nil
		}}
		got, err := NewContract().IntrospectToken.Call(t.Context(), dial(t, opts, known("proxy")), IntrospectParams{" padded\t"})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s, %v", diff, err)
		}
	}
}

func TestErrorsOfTheApplicationWhileItResolves(t *testing.T) {
	const token = `s3cr?t "token"`
	retry := func(seconds float64) []vgirpc.Detail {
		return []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: seconds}}
	}
	for _, tt := range []struct {
		name  string
		id    TokenIdentity
		err   error
		want  answer
		retry time.Duration // of the authenticator; 0 for a fault
	}{
		{
			name: "it cannot tell", err: Unavailable(3*time.Second, "the store is down"), retry: 3 * time.Second,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "the store is down", Details: retry(3)},
		},
		{
			name: "it cannot tell, and quotes the token", err: fmt.Errorf("x: %w", Unavailable(0, "no answer for "+token)), retry: 5 * time.Second,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "no answer for [token]", Details: retry(5)},
		},
		{
			name: "an authenticator's outage", err: fmt.Errorf("x: %w", &auth.Unavailable{RetryAfter: 7 * time.Second, Err: errors.New("about " + token)}), retry: 7 * time.Second,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "identity lookup unavailable", Details: retry(7)},
		},
		{
			name: "one without a delay", err: &auth.Unavailable{}, retry: 5 * time.Second,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "identity lookup unavailable", Details: retry(5)},
		},
		{
			name: "a store's outage", err: vgirpc.Errorf(vgirpc.Unavailable, "no").WithDetails(vgirpc.RetryInfo{RetryDelaySeconds: 1.5}), retry: 1500 * time.Millisecond,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "identity lookup unavailable", Details: retry(1.5)},
		},
		{
			name: "a store that means for ever", err: vgirpc.Errorf(vgirpc.Unavailable, "no").WithDetails(vgirpc.RetryInfo{RetryDelaySeconds: math.MaxFloat64}), retry: 24 * time.Hour,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "identity lookup unavailable", Details: retry(86400)},
		},
		{
			name: "its time is up", err: context.DeadlineExceeded, retry: 5 * time.Second,
			want: answer{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: "identity lookup unavailable", Details: retry(5)},
		},
		{
			name: "a fault that quotes the token", err: fmt.Errorf("get https://x/?t=%s: %q: %s", url.QueryEscape(token), token, token),
			want: answer{Code: vgirpc.Unknown, Type: "Error", Message: `get https://x/?t=[token]: "[token]": [token]`},
		},
		{
			name: "a store that refuses us is no refusal of the caller", err: vgirpc.Errorf(vgirpc.Unauthenticated, "who are you with %s? %w", token, errors.New(token)).WithKind("k").WithType("T"),
			want: answer{Code: vgirpc.Unauthenticated, Kind: "k", Type: "T", Message: "who are you with [token]? [token]"},
		},
		{
			name: "an authenticator's refusal is neither", err: &auth.Failure{Reason: auth.InvalidCredential},
			want: answer{Code: vgirpc.Unknown, Type: "Error", Message: "authentication rejected: invalid_credential"},
		},
		{
			name: "nobody was named",
			want: answer{Code: vgirpc.Internal, Type: "Error", Message: errNobody.Message},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := Options{Introspectors: []string{"proxy"}, ResolveToken: func(context.Context, string) (TokenIdentity, bool, error) {
				return tt.id, true, tt.err
			}}
			_, err := NewContract().IntrospectToken.Call(t.Context(), dial(t, opts, known("proxy")), IntrospectParams{token})
			got := answerOf(t, err)
			if strings.Contains(got.Trace, "s3cr") {
				t.Errorf("the traceback has the token: %s", got.Trace)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(answer{}, "Trace"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			id, err := newIdentity(opts)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = id.resolve(t.Context(), token)
			err = authError(err, token)
			if strings.Contains(err.Error(), "s3cr") {
				t.Errorf("the log has the token: %v", err)
			}
			if _, refused := auth.ReasonOf(err); refused {
				t.Errorf("the caller is refused: %v", err)
			}
			outage, ok := errors.AsType[*auth.Unavailable](err)
			if ok != (tt.retry > 0) || (ok && outage.RetryAfter != tt.retry) {
				t.Errorf("the authenticator fails with %#v, want a delay of %v", err, tt.retry)
			}
		})
	}
}

func TestGrantsAreForTheirCaller(t *testing.T) {
	now := time.Now().Unix()
	opts := Options{MintGrant: anyGrant}
	for _, name := range []string{"ada", "bob"} {
		caller := known(name)
		caller.Claims = map[string]any{"auth_time": now - 60}
		got, err := NewContract().IssueGrant.Call(t.Context(), dial(t, opts, caller), GrantParams{Purpose: "nightly", Scopes: []string{"read"}, TTLSeconds: 5})
		want := IssuedGrant{Token: "for " + name, ExpiresAt: time.Unix(1_893_456_000, 0).UTC(), GrantID: "nightly"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s, %v", diff, err)
		}
	}
}

func TestTheApplicationIsNotAskedForAGrantWithoutASignIn(t *testing.T) {
	opts := Options{MintGrant: func(context.Context, GrantRequest) (IssuedGrant, error) {
		t.Error("the application was asked")
		return IssuedGrant{}, nil
	}}
	for name, caller := range map[string]vgirpc.Identity{
		"nobody":                         {},
		"nobody, lately":                 {Authenticated: true, Claims: map[string]any{"auth_time": time.Now().Unix()}},
		"a name that nobody vouches for": {Principal: "ada", Claims: map[string]any{"auth_time": time.Now().Unix()}},
		"a static token":                 known("ada"),
		"a grant":                        {Principal: "ada", Domain: DomainGrant, Authenticated: true, Claims: map[string]any{"grant_id": "1"}},
		"yesterday":                      signedIn(time.Now().Add(-24 * time.Hour).Unix()),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewContract().IssueGrant.Call(t.Context(), dial(t, opts, caller), GrantParams{})
			if e := answerOf(t, err); e.Kind != KindStaleAuth || e.Code != vgirpc.Unauthenticated {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestHowFreshASignInHasToBe(t *testing.T) {
	const now = 1_000_000
	for _, tt := range []struct {
		at    any
		fresh bool
	}{
		{float64(now), true},
		{now - 900, true},
		{int64(now - 901), false},
		{" 999100 ", true},
		{"999099.9", false},
		{"1e6", true},
		{now + 60, true},
		{now + 61, false},
		{float64(now) * 1000, false}, // milliseconds
		{"yesterday", false},
		{"", false},
		{"NaN", false},
		{"-inf", false},
		{"Infinity", false},
		{math.NaN(), false},
		{math.Inf(1), false},
		{true, false},
		{nil, false},
		{map[string]any{}, false},
	} {
		caller := signedIn(tt.at)
		err := checkFresh(&caller, DefaultMaxAuthAge, time.Unix(now, 0))
		if (err == nil) != tt.fresh {
			t.Errorf("auth_time %v: %v", tt.at, err)
		}
		if s, isText := tt.at.(string); isText && err != nil && s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the claim is quoted: %v", err)
		}
	}
}

func TestACallerLearnsWhatItsSignInLacks(t *testing.T) {
	none, unusable, old := known("ada"), signedIn("soon"), signedIn(int64(1))
	for want, caller := range map[string]vgirpc.Identity{"no auth_time": none, "unusable": unusable, "longer ago": old, "not authenticated": {}} {
		if err := checkFresh(&caller, time.Minute, time.Unix(1000, 0)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestErrorsOfTheApplicationWhileItMints(t *testing.T) {
	for _, tt := range []struct {
		name   string
		issued IssuedGrant
		err    error
		kind   string
		code   vgirpc.Code
		retry  float64
	}{
		{name: "it will not", err: GrantRefused("not on Sundays"), kind: KindGrantRefused, code: vgirpc.PermissionDenied},
		{name: "it cannot tell", err: &auth.Unavailable{RetryAfter: 7 * time.Second}, kind: KindUnavailable, code: vgirpc.Unavailable, retry: 7},
		{name: "an error of its own", err: vgirpc.Errorf(vgirpc.FailedPrecondition, "no").WithKind("own"), kind: "own", code: vgirpc.FailedPrecondition},
		{name: "a grant without a token", issued: IssuedGrant{ExpiresAt: time.Unix(1, 0)}, code: vgirpc.Internal},
		{name: "a grant without an end", issued: IssuedGrant{Token: "x"}, code: vgirpc.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := Options{MintGrant: func(context.Context, GrantRequest) (IssuedGrant, error) { return tt.issued, tt.err }}
			_, err := NewContract().IssueGrant.Call(t.Context(), dial(t, opts, signedIn(time.Now().Unix())), GrantParams{})
			info, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err)
			if e := answerOf(t, err); e.Kind != tt.kind || e.Code != tt.code || info.RetryDelaySeconds != tt.retry {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestSealedGrantsAreMintedWithoutTheApplication(t *testing.T) {
	keys := sealing(t)
	client := dial(t, Options{Grants: keys}, signedIn(strconv.FormatInt(time.Now().Unix(), 10)))
	issue := NewContract().IssueGrant
	got, err := issue.Call(t.Context(), client, GrantParams{Purpose: "nightly", Scopes: []string{"b", "a"}, TTLSeconds: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := keys.Verify(got.Token)
	if err != nil {
		t.Fatal(err)
	}
	want := grant.Claims{
		ID: got.GrantID, Principal: "ada", Purpose: "nightly", Scopes: []string{"b", "a"},
		IssuedAt: claims.IssuedAt, ExpiresAt: claims.IssuedAt.Add(grant.DefaultMaxTTL),
	}
	if diff := cmp.Diff(want, claims); diff != "" || !got.ExpiresAt.Equal(claims.ExpiresAt) {
		t.Errorf("%s, which ends at %v", diff, got.ExpiresAt)
	}
	for _, refused := range []GrantParams{{TTLSeconds: 0}, {TTLSeconds: -5}, {TTLSeconds: 1, Purpose: strings.Repeat("long", 1024)}} {
		_, err := issue.Call(t.Context(), client, refused)
		if e := answerOf(t, err); e.Kind != KindGrantRefused {
			t.Errorf("got %+v", e)
		}
	}
}

func TestTheApplicationsMintGoesBeforeSealedGrants(t *testing.T) {
	client := dial(t, Options{Grants: sealing(t), MintGrant: anyGrant}, signedIn(time.Now().Unix()))
	got, err := NewContract().IssueGrant.Call(t.Context(), client, GrantParams{})
	if err != nil || got.Token != "for ada" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAMethodThatIsNotHostedRefusesAllTheSame(t *testing.T) {
	id, err := newIdentity(Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, introspect := id.introspectToken(t.Context(), IntrospectParams{"opaque"})
	_, issue := id.issueGrant(t.Context(), GrantParams{})
	got := []string{answerOf(t, introspect).Kind, answerOf(t, issue).Kind}
	if diff := cmp.Diff([]string{KindIntrospectionRefused, KindGrantRefused}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCredentialsAreNeverPrinted(t *testing.T) {
	for _, v := range []any{IssuedGrant{Token: "s3cret", GrantID: "g1"}, IntrospectParams{"s3cret"}} {
		valuer, ok := v.(interface{ LogValue() slog.Value })
		if !ok {
			t.Fatalf("%T has no LogValue", v)
		}
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), valuer.LogValue().String()} {
			if strings.Contains(text, "s3cret") || text == "" {
				t.Errorf("%T is printed as %q", v, text)
			}
		}
	}
	if got := TokenDigest("s3cret"); len(got) != 64 || got == TokenDigest("s3cres") {
		t.Errorf("digest %s", got)
	}
}
