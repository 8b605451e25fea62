package vgirpc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestACloneHasClaimsOfItsOwn(t *testing.T) {
	claims := func() map[string]any {
		return map[string]any{
			"name": "alice", "uri": []string{"a", "b"}, "scp": []any{"read", map[string]any{"deep": []any{1.5}}},
			"realm": map[string]any{"roles": []any{"admin"}, "none": nil},
		}
	}
	id := vgirpc.Identity{Principal: "alice", Domain: "test", Authenticated: true, Claims: claims()}
	own := id.Clone()
	if diff := cmp.Diff(id, own); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	own.Claims["uri"].([]string)[0] = "changed"
	own.Claims["scp"].([]any)[1].(map[string]any)["deep"].([]any)[0] = "changed"
	own.Claims["realm"].(map[string]any)["roles"].([]any)[0] = "changed"
	own.Claims["more"] = "changed"
	if diff := cmp.Diff(claims(), id.Claims); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (vgirpc.Identity{}).Clone(); got.Claims != nil {
		t.Errorf("the clone of nobody has %v", got.Claims)
	}
}
