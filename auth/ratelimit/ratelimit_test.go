package ratelimit_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestRatesOfTheCommandLine(t *testing.T) {
	for text, want := range map[string]ratelimit.Rate{
		"10":       {Events: 10, Per: time.Second, Burst: 10},
		"10/s":     {Events: 10, Per: time.Second, Burst: 10},
		"600/m:50": {Events: 600, Per: time.Minute, Burst: 50},
		"3/h":      {Events: 3, Per: time.Hour, Burst: 3},
		"0.5/s:1":  {Events: 0.5, Per: time.Second, Burst: 1},
		"0.5":      {Events: 0.5, Per: time.Second, Burst: 1},
	} {
		got, err := ratelimit.ParseRate(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
		if again, err := ratelimit.ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s", text, got)
		}
	}
	for _, text := range []string{"", "x", "0", "-1", "1/d", "1/", "1:", "1:0", "1:-5", "1:x", "NaN", "Inf", "1e99", "1/s/s", ":5", "1/s:9999999999"} {
		if got, err := ratelimit.ParseRate(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, opts := range map[string]ratelimit.Options{
		"no rate":             {},
		"a negative rate":     {Rate: ratelimit.Rate{Events: -1}},
		"a negative time":     {Rate: ratelimit.Rate{Events: 1, Per: -1}},
		"a negative burst":    {Rate: ratelimit.Rate{Events: 1, Burst: -1}},
		"a rate that is none": {Rate: ratelimit.Rate{Events: 1e-12, Per: time.Hour}},
		"negative keys":       {Rate: ratelimit.Rate{Events: 1}, MaxKeys: -1},
	} {
		if _, err := ratelimit.NewAddresses(opts); err == nil {
			t.Errorf("addresses, %s: taken", name)
		}
		if _, err := ratelimit.NewPrincipals(opts); err == nil {
			t.Errorf("principals, %s: taken", name)
		}
	}
}

func addresses(t *testing.T, opts ratelimit.Options) *ratelimit.Addresses {
	t.Helper()
	a, err := ratelimit.NewAddresses(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhichAddressesAreOne(t *testing.T) {
	for _, tt := range []struct {
		name, one, other string
		same             bool
	}{
		{"the same", "192.0.2.1", "192.0.2.1", true},
		{"neighbours", "192.0.2.1", "192.0.2.2", false},
		{"IPv4 in IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"one network of IPv6", "2001:db8::1", "2001:db8::ffff:1", true},
		{"two networks of IPv6", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"two zones", "fe80::1%eth0", "fe80::1%eth1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 1}})
				if err := a.Take(netip.MustParseAddr(tt.one)); err != nil {
					t.Fatal(err)
				}
				if err := a.Take(netip.MustParseAddr(tt.other)); (err != nil) != tt.same {
					t.Errorf("the other one: %v", err)
				}
				if err := a.Take(netip.Addr{}); err != nil {
					t.Errorf("none: %v", err)
				}
			})
		})
	}
}

func TestARefusalSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 30, Per: time.Minute, Burst: 1}, FailureCost: -1})
		addr := netip.MustParseAddr("192.0.2.1")
		_ = a.Take(addr)
		a.Fail(addr) // which costs nothing here
		time.Sleep(500 * time.Millisecond)
		err := a.Take(addr)
		wait, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err)
		e, _ := errors.AsType[*vgirpc.Error](err)
		if wait.RetryDelaySeconds != 1.5 || !e.Retryable() || e.Type != "RateLimitError" || !strings.Contains(e.Message, "30/m:1") {
			t.Errorf("%v, wait %v", err, wait)
		}
		time.Sleep(1500 * time.Millisecond)
		if err := a.Take(addr); err != nil {
			t.Errorf("at that time: %v", err)
		}
	})
}

func TestCallersAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := ratelimit.NewPrincipals(ratelimit.Options{Rate: ratelimit.Rate{Events: 1}})
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 5000)
		all := []vgirpc.Identity{
			{Principal: "alice", Domain: "a", Authenticated: true},
			{Principal: "alice", Domain: "b", Authenticated: true},
			{Principal: "bob", Domain: "a", Authenticated: true},
			{Principal: "", Domain: "alicea", Authenticated: true},
			{Principal: long + "1", Authenticated: true},
			{Principal: long + "2", Authenticated: true},
		}
		for i := range all {
			if err := p.Take(&all[i]); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		for i := range all {
			if err := p.Take(&all[i]); err == nil {
				t.Errorf("%d: let in twice", i)
			}
		}
		for range 10 {
			if err := p.Take(&vgirpc.Identity{}); err != nil {
				t.Errorf("nobody in particular: %v", err)
			}
		}
	})
}

// value is what the method of these tests takes.
type value struct {
	N int64 `vgi:"n"`
}

// serveTCP serves a method over TCP and returns it with the address.
func serveTCP(t *testing.T, opts vgirpc.ServerOptions) (*vgirpc.Unary[value, int64], string) {
	t.Helper()
	p := vgirpc.NewProtocol("test.Limited", "")
	twice := vgirpc.NewUnary[value, int64](p, "twice")
	s, err := vgirpc.NewServer(opts, p)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, twice, func(_ context.Context, v value) (int64, error) { return 2 * v.N, nil })
	l, err := vgirpc.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return twice, l.Addr().String()
}

// refusals sends what it is told, but for the port and the duration.
type refusals chan vgirpc.Refused

func (o refusals) RequestRefused(_ context.Context, r *vgirpc.Refused) {
	out := *r
	out.Peer, _, _ = strings.Cut(r.Peer, ":")
	out.Duration = 0
	o <- out
}

func TestAnAddressConnectsNoMoreOftenThanItsLimit(t *testing.T) {
	seen := make(refusals, 10)
	twice, address := serveTCP(t, vgirpc.ServerOptions{
		Conns:            vgirpc.ConnOptions{Admit: []vgirpc.Admitter{addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 2, Per: time.Hour}})}},
		RefusalObservers: []vgirpc.RefusalObserver{seen},
	})
	// call is how a call ends on a connection of its own.
	call := func() string {
		c, err := vgirpc.DialTCP(t.Context(), address, vgirpc.ClientOptions{})
		if err != nil {
			return err.Error()
		}
		defer func() { _ = c.Close() }()
		n, err := twice.Call(t.Context(), c, value{21})
		e, _ := errors.AsType[*vgirpc.Error](err)
		switch {
		case err == nil && n == 42:
			return "served"
		case vgirpc.IsRemote(err) && e.Type == "RateLimitError" && e.Retryable():
			return "told"
		default:
			return "cut off"
		}
	}
	var got []string
	for range 5 {
		got = append(got, call())
	}
	if diff := cmp.Diff([]string{"served", "served", "told", "told", "cut off"}, got); diff != "" {
		t.Error(diff)
	}
	one := vgirpc.Refused{
		Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAddressRate, Code: vgirpc.ResourceExhausted, Peer: "127.0.0.1", UID: -1, PID: -1,
	}
	last := one
	last.Code = vgirpc.Unknown // it has been told nothing
	if diff := cmp.Diff([]vgirpc.Refused{one, one, last}, []vgirpc.Refused{<-seen, <-seen, <-seen}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// alice lets everybody in as one caller.
type alice struct{}

func (alice) Admit(_ context.Context, a *vgirpc.Admission) error {
	a.Vouch(vgirpc.Identity{Principal: "alice", Domain: "test", Authenticated: true})
	return nil
}

func TestACallerOfASocketCallsNoMoreOftenThanItsLimit(t *testing.T) {
	p, err := ratelimit.NewPrincipals(ratelimit.Options{Rate: ratelimit.Rate{Events: 3, Per: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	twice, address := serveTCP(t, vgirpc.ServerOptions{
		Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{alice{}}}, Interceptors: []vgirpc.Interceptor{p.Intercept},
	})
	var got []vgirpc.Code
	for range 2 { // connections, which share what the caller has
		c, err := vgirpc.DialTCP(t.Context(), address, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := twice.Call(t.Context(), c, value{1})
			code := vgirpc.Code("")
			if err != nil {
				code = vgirpc.CodeOf(err)
			}
			got = append(got, code)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]vgirpc.Code{"", "", "", vgirpc.ResourceExhausted}, got); diff != "" {
		t.Error(diff)
	}
}
