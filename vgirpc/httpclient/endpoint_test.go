package httpclient

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestMethodsThatAreMadeForOneCallDoNotAddUp(t *testing.T) {
	tr, err := New("http://fake.test/base", Options{}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string {
		m, err := vgirpc.NewUntyped(vgirpc.NewProtocol("test.Fake.v1", ""), name, vgirpc.UntypedMethod{Kind: vgirpc.KindUnary})
		if err != nil {
			t.Fatal(err)
		}
		return tr.endpoint(m).exchange.URL.Path
	}
	for range 10 {
		if diff := cmp.Diff("/base/test.Fake.v1/a/exchange", path("a")); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	if n := len(tr.paths); n != 1 {
		t.Errorf("%d endpoints of one name", n)
	}
	for i := range maxEndpoints + 10 {
		name := "m" + strconv.Itoa(i)
		if diff := cmp.Diff("/base/test.Fake.v1/"+name+"/exchange", path(name)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	if n := len(tr.paths); n != maxEndpoints {
		t.Errorf("%d endpoints: want %d", n, maxEndpoints)
	}
}
