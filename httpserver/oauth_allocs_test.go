//go:build !race

package httpserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestASignInCostsACallNoMemory(t *testing.T) {
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "token", Principal: "ann"}}})
	if err != nil {
		t.Fatal(err)
	}
	body := string(requestOf(t, func(c *vgirpc.Client) error {
		_, err := conformance.EchoBool.Call(t.Context(), c, conformance.Value[bool]{Value: true})
		return err
	}))
	allocations := func(o httpserver.SignIn) float64 {
		h := newHandler(t, httpserver.Options{Prefix: "/vgi", Auth: bearer, OAuth: o})
		return testing.AllocsPerRun(200, func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/vgi/ConformanceService/echo_bool", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/vnd.apache.arrow.stream")
			r.Header.Set("Authorization", "Bearer token")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	without, with := allocations(nil), allocations(newSignIn(t, signInOptions("https://id.test")))
	if with > without {
		t.Errorf("%v allocations, and %v without a sign-in", with, without)
	}
}
