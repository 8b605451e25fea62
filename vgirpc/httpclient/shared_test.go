package httpclient_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

func newTransport(t *testing.T, url string, opts httpclient.Options, client vgirpc.ClientOptions) *httpclient.Transport {
	t.Helper()
	tr, err := httpclient.New(url, opts, client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func collect[Row any](t *testing.T, s *vgirpc.ProducerStream[Row]) ([]Row, error) {
	t.Helper()
	var out []Row
	for rows, err := range s.All() {
		if err != nil {
			return out, err
		}
		out = append(out, rows...)
	}
	return out, nil
}
