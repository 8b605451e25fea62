package vgirpcgo_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestEveryLimitIsDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for prefix, options := range map[string]reflect.Type{
		"Limits.": reflect.TypeFor[wire.Limits](),
		"Conns.":  reflect.TypeFor[vgirpc.ConnOptions](),
	} {
		for field := range options.Fields() {
			if name := prefix + field.Name; !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("docs/limits.md does not tell of %s", name)
			}
		}
	}
}
