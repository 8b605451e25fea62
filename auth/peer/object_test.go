package peer_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/peer"
)

func TestParseObject(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       string // "" for an error
	}{
		{"nothing in it", `{}`, `{}`},
		{"names come in order, and blanks go", ` { "b" : 1 , "a" : [ true , null , "x" ] } `, `{"a":[true,null,"x"],"b":1}`},
		{"numbers stay as they are written", `{"a":1.50,"b":-0,"c":1e3,"d":123456789012345678901234567890}`, `{"a":1.50,"b":-0,"c":1e3,"d":123456789012345678901234567890}`},
		{"escapes that are not needed go", `{"\u0061":"\/\u00e9\ud83d\ude00\u2028<"}`, "{\"a\":\"/é😀\u2028<\"}"},
		{"escapes that are needed stay", `{"a":"\"\\\n\r\t\b\f\u0001"}`, `{"a":"\"\\\n\r\t\b\f\u0001"}`},
		{"a backslash before what looks like a surrogate", `{"a":"\\ud800"}`, `{"a":"\\ud800"}`},
		{"no text", ``, ``},
		{"a list", `[]`, ``},
		{"two objects", `{}{}`, ``},
		{"something behind", `{} x`, ``},
		{"a comma too many", `{"a":1,}`, ``},
		{"a name twice", `{"a":1,"a":1}`, ``},
		{"a name twice, written otherwise", `{"a":1,"\u0061":2}`, ``},
		{"a name twice further down", `{"a":[{"b":1,"b":2}]}`, ``},
		{"not a number", `{"a":NaN}`, ``},
		{"a number beyond all", `{"a":1e999}`, ``},
		{"a high surrogate alone", `{"a":"\ud800"}`, ``},
		{"a high surrogate before something else", `{"a":"\ud800\u0041"}`, ``},
		{"a high surrogate at the end, in capitals", `{"a":"x\uDBFF"}`, ``},
		{"a low surrogate alone", `{"a":"\udc00"}`, ``},
		{"a surrogate in a name", `{"\udfff":1}`, ``},
		{"not UTF-8", "{\"a\":\"\xff\"}", ``},
		{"a control character", "{\"a\":\"\x01\"}", ``},
		{"longer than the limit with blanks", `{}` + strings.Repeat(" ", peer.MaxObjectBytes), ``},
		{"far too deep", strings.Repeat(`{"a":`, 30_000) + `1` + strings.Repeat(`}`, 30_000), ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := peer.ParseObject([]byte(tt.text))
			if (err != nil) != (tt.want == "") {
				t.Fatalf("got %q, %v", got.JSON(), err)
			}
			if err == nil && got.JSON() != tt.want {
				t.Errorf("got %s, want %s", got.JSON(), tt.want)
			}
		})
	}
}

func TestNewObject(t *testing.T) {
	source := map[string]any{
		"roles": []any{"reader", map[string]any{"scope": "one"}}, "n": 1, "m": int64(2), "f": 0.5, "tags": []string{"b", "a"}, "j": json.Number("7"),
	}
	o := must(peer.NewObject(source))
	source["roles"].([]any)[0] = "writer"
	const want = `{"f":0.5,"j":7,"m":2,"n":1,"roles":["reader",{"scope":"one"}],"tags":["b","a"]}`
	if o.JSON() != want {
		t.Errorf("got %s, want %s", o.JSON(), want)
	}
	o.Map()["roles"] = nil
	if diff := cmp.Diff([]any{"reader", map[string]any{"scope": "one"}}, o.Map()["roles"]); diff != "" {
		t.Error("a copy was no copy: " + diff)
	}
	for name, members := range map[string]map[string]any{
		"an infinite number":            {"a": math.Inf(1)},
		"no number":                     {"a": math.NaN()},
		"a text in a number":            {"a": json.Number(`"x"`)},
		"blanks around a number":        {"a": json.Number(" 1")},
		"no digits in a number":         {"a": json.Number("")},
		"a value of another type":       {"a": struct{}{}},
		"text that is not UTF-8":        {"a": "\xff"},
		"a name that is not UTF-8":      {"\xff": 1},
		"a list that is too deep":       {"a": deepList(peer.MaxObjectDepth)},
		"a list of too many":            {"a": make([]string, peer.MaxObjectValues)},
		"a name that is too long alone": {strings.Repeat("x", peer.MaxObjectBytes): true},
	} {
		if _, err := peer.NewObject(members); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func deepList(n int) []any {
	list := []any{}
	for range n - 1 {
		list = []any{list}
	}
	return list
}

func TestEvidenceShowsNothingOfItself(t *testing.T) {
	const secret = "capability-of-mallory"
	e := evidenceOf(t, peer.Identity{
		Provider: "test", Source: "s", Assurance: peer.LocalDaemon, Issuer: "i", Transport: "tcp",
		Subject: secret, Stability: peer.Stable, Verified: true,
		Capabilities: must(peer.NewObject(map[string]any{secret: 1})), Attributes: must(peer.NewObject(map[string]any{"a": secret})),
	})
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	object := e.Identities("test")[0].Capabilities
	logger.Info("x", "evidence", e, "object", object)
	text := log.String() + fmt.Sprintf("%v %+v %#v %s %v %+v %#v", e, e, e, e, object, object, object) +
		string(must(json.Marshal(map[string]any{"claims": e, "object": object})))
	if strings.Contains(text, secret) || !strings.Contains(text, "test:available") || !strings.Contains(text, `{"test":"available"}`) {
		t.Error(text)
	}
}

// FuzzParseObject: what is read within the limits is written and read as the
// same, and encoding/json reads the same in it.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,2.5,"x",null,true,{"b":"\ud83d\ude00"}]}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, `[[[[`, `{"a":"\\u"}`, `{"a":1e400}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := peer.ParseObject(text)
		if err != nil {
			return
		}
		if again, err := peer.ParseObject([]byte(o.JSON())); err != nil || again != o {
			t.Fatalf("%q was written as %q: %v", text, o.JSON(), err)
		}
		if again, err := peer.NewObject(o.Map()); err != nil || again != o {
			t.Fatalf("%q as a map is %q: %v", text, again.JSON(), err)
		}
		var want, got any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q is no JSON: %v", text, err)
		}
		if err := json.Unmarshal([]byte(o.JSON()), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	})
}
