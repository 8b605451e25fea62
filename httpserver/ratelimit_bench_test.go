package httpserver_test

import (
	"net/http"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// What refusals and limits cost a call that is served.
func BenchmarkLimits(b *testing.B) {
	wide := ratelimit.Options{Rate: ratelimit.Rate{Events: 1e9}}
	address, err := ratelimit.NewAddresses(wide)
	if err != nil {
		b.Fatal(err)
	}
	principal, err := ratelimit.NewPrincipals(wide)
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		opts httpserver.Options
		of   vgirpc.ServerOptions
	}{
		{"off", httpserver.Options{Auth: auth.Func(byToken)}, vgirpc.ServerOptions{}},
		{"refusals watched", httpserver.Options{Auth: auth.Func(byToken)}, vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{new(refusals)}}},
		{"limits", httpserver.Options{Auth: auth.Func(byToken), AddressLimit: address, PrincipalLimit: principal}, vgirpc.ServerOptions{}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			h := newHandlerOf(b, bb.opts, bb.of)
			r := newUnaryRequest(b, "/ConformanceService/echo_float", echoFloat(b))
			r.Header.Set("Authorization", "Bearer bob")
			r.RemoteAddr = "192.0.2.1:1234"
			w := &canned{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				r.serve(h, w)
			}
			if w.status != http.StatusOK {
				b.Errorf("status %d", w.status)
			}
		})
	}
}
