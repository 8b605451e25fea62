package conformance

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestTheFixturesAuthenticators(t *testing.T) {
	alice := vgirpc.Identity{Principal: "alice", Domain: "conformance", Authenticated: true}
	atNoon := alice
	atNoon.Claims = map[string]any{"auth_time": "12"}
	for _, tt := range []struct {
		name   string
		by     auth.Func
		header http.Header
		want   vgirpc.Identity
		refuse auth.Reason
	}{
		{"a caller is whom it says", byHeader, http.Header{"X-Conformance-Principal": {"alice"}}, alice, ""},
		{"and was so when it says", byHeader, http.Header{"X-Conformance-Principal": {"alice"}, "X-Conformance-Auth-Time": {"12"}}, atNoon, ""},
		{"a caller may be nobody", byHeader, nil, vgirpc.Identity{}, ""},
		{"a bearer is refused", byHeader, http.Header{"Authorization": {"Bearer x"}}, vgirpc.Identity{}, auth.InvalidCredential},
		{"everybody is refused", refuse, nil, vgirpc.Identity{}, auth.Unauthorized},
		{"for the reason asked for", refuse, http.Header{"X-Conformance-Auth-Reason": {"expired_credential"}}, vgirpc.Identity{}, auth.ExpiredCredential},
		{"unless it is a proxy's", refuse, http.Header{"X-Conformance-Auth-Reason": {"proxy_required"}}, vgirpc.Identity{}, auth.Unauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.by(&http.Request{Header: tt.header})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			var failure *auth.Failure
			switch {
			case tt.refuse == "" && err != nil:
				t.Error(err)
			case tt.refuse != "" && !errors.As(err, &failure):
				t.Errorf("error %v, want a refusal", err)
			case tt.refuse != "" && failure.Reason != tt.refuse && (failure.Reason != "" || tt.refuse != auth.Unauthorized):
				t.Errorf("reason %q, want %q", failure.Reason, tt.refuse)
			}
		})
	}
}

func TestTheTestRoutesStandBesideTheOthers(t *testing.T) {
	server, err := NewServer(vgirpc.ServerOptions{}, HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := httpserver.New(server, httpserver.Options{Prefix: "/vgi", Sticky: &httpserver.Sticky{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/__test_drain__", http.StatusNoContent},
		{http.MethodDelete, "/__test_drain__", http.StatusNoContent},
		{http.MethodGet, "/__test_drain__", http.StatusMethodNotAllowed},
		{http.MethodPost, "/vgi/__test_drain__", http.StatusNotFound},
		{http.MethodGet, "/vgi/health", http.StatusOK},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			(&withTestRoutes{inner}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
		})
	}
}
