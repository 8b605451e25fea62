package jwt

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asLibrary reads an object as package json does, numbers as decodeObject.
func asLibrary(text []byte) (map[string]any, bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var out map[string]any
	if dec.Decode(&out) != nil || out == nil {
		return nil, false
	}
	convert(out)
	return out, true
}

// convert replaces the numbers in a value.
func convert(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = convert(v[name])
		}
	case []any:
		for i := range v {
			v[i] = convert(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

func TestDecodeObject(t *testing.T) {
	for _, tt := range []struct {
		text string
		want map[string]any // nil for none
	}{
		{`{}`, map[string]any{}},
		{" {\t\"a\" : [ ] , \"b\":{\n} }\r\n", map[string]any{"a": []any{}, "b": map[string]any{}}},
		{`{"a":[1,-2.5,1e3,true,false,null,"x"]}`, map[string]any{"a": []any{int64(1), -2.5, 1000.0, true, false, nil, "x"}}},
		{`{"\u0061\"\\":"\ud83d\ude00"}`, map[string]any{`a"\`: "😀"}},
		{`{"n":9223372036854775808}`, map[string]any{"n": 9223372036854775808.0}},
		{`{"a":1,"a":2}`, nil},
		{`{"a":1,"\u0061":2}`, nil},
		{`{"x":[{"a":1,"a":1}]}`, nil},
		{`{"n":1e999}`, nil},
		{`[]`, nil},
		{`null`, nil},
		{`{"a":1}x`, nil},
		{`{"a":1`, nil},
		{"{\"a\":\"\xff\"}", nil},
		{``, nil},
	} {
		got, err := decodeObject([]byte(tt.text))
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %v\n%s", tt.text, err, diff)
		}
	}
}

// FuzzDecodeObject holds the decoder against package json, which takes more.
func FuzzDecodeObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\n"}],"c":{"d":null}}`))
	f.Add([]byte(`{"iss":"x","aud":["a","b"],"exp":1.5e9}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeObject(text)
		if err != nil {
			return
		}
		want, ok := asLibrary(text)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%q: %v\n%s", text, ok, diff)
		}
	})
}
