package jwt

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzClaims: what is read is JSON and says the same to other readers, and can
// be used in any way without a panic.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"i","aud":["a","b"],"exp":1,"nbf":1.5,"iat":-1}`, `{"a":{"b":[{}]},"c":null}`, `{"a":1,"a":1}`, `{"a":1,"\u0061":2}`,
		`{"exp":1e300}`, `{"exp":9223372036854775808}`, `[]`, `null`, `{}{}`, `{"a":"\ud800"}`, ``, `{"scope":"a b","scp":[1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c claims
		if c.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, floats(c.values)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		for name := range c.values {
			if date, err := c.date(name); err == nil && (date == nil || date.Unix() < 0 || date.Unix() > maxDate) {
				t.Errorf("%q has a date of %v", text, date)
			}
			c.has(name, []string{"a"})
		}
		c.hasScopes([]string{"a"})
		c.principal("sub")
		if _, present := c.values["aud"]; !present {
			if list, err := c.GetAudience(); err != nil || list != nil {
				t.Errorf("%q has no audience, and one was read: %v, %v", text, list, err)
			}
		}
	})
}

// floats is a value with its whole numbers as encoding/json reads them.
func floats(value any) any {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = floats(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = floats(v[name])
		}
		return out
	}
	return value
}
