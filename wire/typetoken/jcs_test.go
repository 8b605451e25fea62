package typetoken_test

import (
	"errors"
	"testing"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

func TestAppendJCSFollowsRFC8785(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"the string vector of section 3.2.2.2", "\u20ac$\u000f\nA'B\"\\\\\"/", `"€$\u000f\nA'B\"\\\\\"/"`},
		{"short escapes win over code points", "\b\t\n\f\r", `"\b\t\n\f\r"`},
		{"other controls are lowercase code points", "\x00\x0b\x1b\x1f", `"\u0000\u000b\u001b\u001f"`},
		{"delete is not escaped", "\x7f\u0080", "\"\x7f\u0080\""},
		{"nothing is escaped for HTML", "<a>&</a>", `"<a>&</a>"`},
		{"line separators are literal", "\u2028\u2029", "\"\u2028\u2029\""},
		{"text is UTF-8", "café 😀", `"café 😀"`},
		{"the empty string", "", `""`},
		{
			"the sorting vector of section 3.2.3",
			map[string]any{
				"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
				"1": "One", "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis",
			},
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\"," +
				"\"\u20ac\":\"Euro Sign\",\"\U0001f600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		{"a prefix comes first", map[string]any{"ab": "", "a": "", "": ""}, `{"":"","a":"","ab":""}`},
		{"arrays keep their order", []any{"b", "a", []any{}}, `["b","a",[]]`},
		{"booleans stay booleans", map[string]any{"b": false, "a": true}, `{"a":true,"b":false}`},
		{"empty objects", map[string]any{"o": map[string]any{}}, `{"o":{}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := typetoken.AppendJCS([]byte("x"), tt.in)
			if err != nil || string(got) != "x"+tt.want {
				t.Errorf("AppendJCS = %q, %v; want %q", got, err, "x"+tt.want)
			}
		})
	}
}

func TestAppendJCSRefusesWhatItCannotWrite(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
	}{
		{"an integer", 1},
		{"a float", 1.5},
		{"a number in an object", map[string]any{"a": []any{"x", 2}}},
		{"a null", nil},
		{"a typed map", map[string]string{"a": "b"}},
		{"text that is not UTF-8", "a\xff"},
		{"a surrogate in UTF-8", "\xed\xa0\x80"},
		{"a key that is not UTF-8", map[string]any{"\xff": true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := typetoken.AppendJCS([]byte("kept"), tt.in)
			if !errors.Is(err, typetoken.ErrNotCanonical) || string(got) != "kept" {
				t.Errorf("AppendJCS = %q, %v; want ErrNotCanonical and the slice as it was", got, err)
			}
		})
	}
}
