package conformance

import (
	"strings"
	"testing"
)

func TestTheFixtureReadsItsPartOfTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args string
		want Hosting
	}{
		{"", HostStandard},
		{"--pipe", HostStandard},
		{"--hosted-reverse", HostReverse},
		{"--tcp 127.0.0.1:0 --transport-kind-probe --describe", HostTransportKind},
		{"--hosted-reverse=false --threaded", HostStandard},
		{"--help --hosted-reverse", HostStandard},
		{"--no-such-option 3 --hosted-reverse", HostReverse},
		{"--http 0 --hosted-reverse", HostReverse},
		{"--http-auth 8080 --hosted-reverse", HostReverse},
		{"--http-proof --proof-mode off --hosted-reverse", HostReverse},
		{"--prefix /x --cors-origin y --sticky-ttl 1 --identity both --externalize-threshold 1 --proof-mode off", HostStandard},
	} {
		t.Run(tt.args, func(t *testing.T) {
			f, err := readFixture(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.hosting(); got != tt.want {
				t.Errorf("hosts %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTheFixtureRefusesWhatIsNotThere(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--http-pkce --idp-url x", "needs --idp-url and --resource"},
		{"--otel-export", "needs an argument"},
		{"--hosted-reverse --transport-kind-probe", "exclude each other"},
		{"--compression lz4", "none, zstd"},
		{"--proof-skew soon", "proof-skew"},
		{"--http-auth 70000", "http-auth"},
		{"--idp-url", "needs an argument"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, err := readFixture(strings.Fields(tt.args))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
