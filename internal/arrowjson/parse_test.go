package arrowjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// wide is an object of n members, "m0" to 0 and so on.
func wide(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"m%d":%d`, i, i)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestObjectsKeepTheirMembersFewOrMany(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 8, 9, 1000} {
		v, err := arrowjson.Parse([]byte(wide(n)), 1)
		if err != nil {
			t.Fatal(err)
		}
		o := v.(*arrowjson.Object)
		var got []string
		for _, name := range o.Names() {
			member, _ := o.Get(name)
			got = append(got, fmt.Sprintf("%q:%v", name, member))
		}
		if diff := cmp.Diff(wide(n), "{"+strings.Join(got, ",")+"}"); diff != "" || o.Len() != n {
			t.Errorf("%d members: %d (-want +got)\n%s", n, o.Len(), diff)
		}
		if _, ok := o.Get("m"); ok || o.Replace("m", nil) {
			t.Errorf("%d members: there is one that was not given", n)
		}
		if !o.Set("m", json.Number("1")) || o.Set("m", nil) || !o.Replace("m", true) {
			t.Errorf("%d members: one is added once, and replaced", n)
		}
		if v, ok := o.Get("m"); v != true || !ok {
			t.Errorf("%d members: the added one is %v, %v", n, v, ok)
		}
	}
}

func TestWhatParseRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		kind arrowjson.Kind
		want string
	}{
		{``, arrowjson.KindEnds, "ends inside the JSON value"},
		{`{"a":`, arrowjson.KindEnds, "ends inside the JSON value"},
		{`["a"`, arrowjson.KindEnds, "ends inside the JSON value"},
		{`1 2`, arrowjson.KindGoesOn, "goes on after the JSON value"},
		{`x`, arrowjson.KindSyntax, "is not JSON: invalid character 'x'"},
		{`{1:2}`, arrowjson.KindSyntax, "is not JSON: "},
		{`{"a":1,"a":2}`, arrowjson.KindTwice, `the name "a" stands in one object twice`},
		{strings.TrimSuffix(wide(20), "}") + `,"m7":0}`, arrowjson.KindTwice, `the name "m7" stands in one object twice`},
		{`[[[]]]`, arrowjson.KindDeep, "is nested more than 2 deep"},
	} {
		_, err := arrowjson.Parse([]byte(test.text), 2)
		e, ok := errors.AsType[*arrowjson.Error](err)
		if !ok || e.Kind != test.kind || !strings.HasPrefix(e.Reason, test.want) {
			t.Errorf("%.40s: got %v, want kind %d, %s", test.text, err, test.kind, test.want)
		}
	}
	if v, err := arrowjson.Parse([]byte(` [[ ]] `), 2); err != nil {
		t.Errorf("got %v, %v", v, err)
	}
}
