package seal

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// evidence is the claims of a caller with that digest.
func evidence(digest any) map[string]any {
	return map[string]any{"peer_evidence_binding": digest, "jti": "1"}
}

func TestNoTwoIdentitiesComeToTheSameBytes(t *testing.T) {
	seen := map[string]string{}
	check := func(name string, id *vgirpc.Identity, scope string) {
		t.Helper()
		got := string(AppendIdentity(nil, id, scope))
		if other, ok := seen[got]; ok {
			t.Errorf("%s is as %s: %q", name, other, got)
		}
		seen[got] = name
	}
	// Every way to cut a few bytes into parts, with separators and lengths that a
	// careless encoding would trip over.
	parts := []string{"", "a", "b", "ab", "\x00", "\x01", "a\x00b", "\x01a", "anonymous", strings.Repeat("x", 128), strings.Repeat("x", 300)}
	quoted := func(words ...string) string { return strings.Join(words, "|") }
	for _, scope := range parts {
		check(quoted("anonymous", scope), nil, scope)
		for _, digest := range parts {
			check(quoted("anonymous", digest, scope), &vgirpc.Identity{Claims: evidence(digest)}, scope)
		}
		for _, domain := range parts {
			for _, principal := range parts {
				id := &vgirpc.Identity{Authenticated: true, Domain: domain, Principal: principal}
				check(quoted(domain, principal, scope), id, scope)
				for _, digest := range parts[:6] {
					with := *id
					with.Claims = evidence(digest)
					check(quoted(domain, principal, digest, scope), &with, scope)
				}
			}
		}
	}
}

func TestWhatIsNotBoundMayChangeWhileATokenLives(t *testing.T) {
	user := vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "ada"}
	for name, c := range map[string]struct{ a, b *vgirpc.Identity }{
		"no identity is an anonymous one": {nil, &vgirpc.Identity{}},
		"an unverified name does not count": {
			&vgirpc.Identity{}, &vgirpc.Identity{Domain: "jwt", Principal: "ada"},
		},
		"other claims do not count": {
			&user, &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "ada", Claims: map[string]any{"jti": "2", "exp": 9}},
		},
		"a digest that is no string is none": {
			&user, &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "ada", Claims: evidence(7)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := AppendIdentity([]byte("p"), c.a, "scope"), AppendIdentity([]byte("p"), c.b, "scope")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
