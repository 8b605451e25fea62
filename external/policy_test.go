package external

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestWhichURLsMayBeFetched(t *testing.T) {
	for _, tt := range []struct {
		origins []string
		yes, no []string
	}{
		{
			[]string{"https://*"},
			[]string{"https://example.com/o?sig=1", "https://EXAMPLE.com:8443/", "https://10.0.0.1/"},
			[]string{"http://example.com/o", "ftp://example.com/", "file:///etc/passwd", "https:///o", "https:opaque", "/o", ""},
		},
		{
			[]string{"http://127.0.0.1", "http://localhost:9000"},
			[]string{"http://127.0.0.1/", "http://127.0.0.1:1/o", "http://LocalHost:9000/o"},
			[]string{"https://127.0.0.1/", "http://localhost:9001/", "http://localhost/", "http://127.0.0.1.evil.com/", "https://example.com/", "http://127.0.0.1@evil.com/"},
		},
		{
			[]string{"https://*.example.com:443", "https://one.org"},
			[]string{"https://a.example.com/", "https://a.b.example.com./", "https://one.org:99/"},
			[]string{"https://example.com/", "https://evilexample.com/", "https://a.example.com:444/", "https://a.one.org/", "http://one.org/"},
		},
		{[]string{"http://[::1]:80"}, []string{"http://[::1]/"}, []string{"http://[::1]:81/", "http://[::2]/"}},
	} {
		p, err := newPolicy(tt.origins)
		if err != nil {
			t.Fatal(err)
		}
		for want, urls := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, s := range urls {
				t.Run(strings.Join(tt.origins, " ")+" and "+s, func(t *testing.T) {
					u, err := url.Parse(s)
					if err != nil {
						t.Fatal(err)
					}
					err = p.check(u)
					if (err == nil) != want {
						t.Errorf("got %v", err)
					}
					if err != nil {
						wantError(t, err, vgirpc.PermissionDenied, "URL rejected")
					}
				})
			}
		}
	}
}

func TestWhichAddressesArePublic(t *testing.T) {
	for want, addresses := range map[bool][]string{
		true: {
			"8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8",
			"2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808",
		},
		false: {
			"127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
			"100.64.0.1", "0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9",
			"224.0.0.1", "240.0.0.1", "255.255.255.255",
			"::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1",
			"fec0::1", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
		},
	} {
		for _, s := range addresses {
			if got := public(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s: public is %v", s, got)
			}
		}
	}
}

func TestPrivateAddressesAreBlockedAtTheSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan struct{})
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
			close(connected)
		}
	}()
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	schema, _ := numbers(t, nil)
	// The names are allowed by patterns: it is what they mean that is refused.
	o := newOffload(t, Options{AllowedOrigins: []string{"https://*"}})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "10.255.255.1", "169.254.169.254", "[fe80::1]"} {
		t.Run(host, func(t *testing.T) {
			_, release, err := o.Resolve(t.Context(), pointerTo(schema, "https://"+host+":"+port+"/o?sig="+secret, ""), nil, nil)
			release()
			wantError(t, err, vgirpc.PermissionDenied, "not a public one")
		})
	}
	select {
	case <-connected:
		t.Error("a connection was made")
	default:
	}
}

func TestHowURLsAreShown(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h.example.com:8443/a/b%20c?sig=1#f": "https://h.example.com:8443/a/b%20c",
		"http://[::1]:80/x?y":                            "http://[::1]:80/x",
		"https://h":                                      "https://h",
		"/relative?sig=1":                                invalidURL,
		"https://h:bad/?s":                               invalidURL,
		"mailto:someone":                                 invalidURL,
		"":                                               invalidURL,
		"\x00":                                           invalidURL,
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
