package httpserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestOptionsThatMakeNoSenseAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts httpserver.Options
		want []string
	}{
		{"a prefix where nobody has to say who he is", httpserver.Options{Prefix: "/.well-known/x"}, []string{"Prefix", "authentication"}},
		{"the same without anything behind it", httpserver.Options{Prefix: "/.well-known"}, []string{"Prefix", "authentication"}},
		{"a limit of a response that is too small", httpserver.Options{MaxResponseBytes: 5}, []string{"MaxResponseBytes", "65536", "9007199254740991"}},
		{"a limit that no client could read", httpserver.Options{MaxRequestBytes: 1 << 60}, []string{"MaxRequestBytes", "9007199254740991"}},
		{
			"a negative limit of the gateway",
			httpserver.Options{JSON: &httpserver.JSONGateway{MaxBodyBytes: -1}},
			[]string{"JSON.MaxBodyBytes", "1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := httpserver.New(newServer(t), tt.opts)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: it does not say %q", err, want)
				}
			}
		})
	}
}

func TestNoPrefixOpensCallsToEverybody(t *testing.T) {
	for _, prefix := range []string{"", "/vgi", "/x/.well-known", "/.well-known2", "/_oauth", "/health", "/x/_oauth", "/_assets"} {
		t.Run(prefix, func(t *testing.T) {
			h := newHandler(t, httpserver.Options{Prefix: prefix, Auth: auth.Func(byNobody)})
			for _, path := range []string{"/ConformanceService/echo_float", accumulate + "/init", accumulate + "/exchange", "/__transport_options__"} {
				if w := post(t, h, prefix+path, echoFloat(t)); w.status != http.StatusUnauthorized {
					t.Errorf("%s: status %d", prefix+path, w.status)
				}
			}
		})
	}
}

func TestHeadOfAnAssetIsNotExemptForItHasNoRoute(t *testing.T) {
	h := newHandler(t, httpserver.Options{Auth: auth.Func(byNobody)})
	for verb, want := range map[string]int{http.MethodHead: http.StatusUnauthorized, http.MethodGet: http.StatusNotFound} {
		r := newUnaryRequest(t, "/_assets/nothing", nil)
		r.Method = verb
		w := &canned{header: http.Header{}}
		r.serve(h, w)
		if w.status != want {
			t.Errorf("%s: status %d, want %d", verb, w.status, want)
		}
	}
}

func byNobody(*http.Request) (vgirpc.Identity, error) {
	return vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential}
}
