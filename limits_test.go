package vgirpcgo_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestEveryLimitIsDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for prefix, options := range map[string]reflect.Type{
		"Limits.":       reflect.TypeFor[wire.Limits](),
		"Conns.":        reflect.TypeFor[vgirpc.ConnOptions](),
		"Options.":      reflect.TypeFor[httpserver.Options](),
		"ServeOptions.": reflect.TypeFor[httpserver.ServeOptions](),
		"Sticky.":       reflect.TypeFor[httpserver.Sticky](),
		"JSONGateway.":  reflect.TypeFor[httpserver.JSONGateway](),
	} {
		for field := range options.Fields() {
			name := prefix + field.Name
			if isLimit(name, field.Type) && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("docs/limits.md does not tell of %s", name)
			}
		}
	}
}

// isLimit reports whether an option limits something: a number or a time that
// neither advises nor counts.
func isLimit(name string, t reflect.Type) bool {
	switch name {
	case "Options.Replicas", "Options.PreferredResponseBytes":
		return false
	}
	return t.Kind() == reflect.Int || t.Kind() == reflect.Int64 || strings.HasPrefix(name, "Limits.") || strings.HasPrefix(name, "Conns.")
}
