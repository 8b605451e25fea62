package nativeclient_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// TestLockstep calls a producer whose server takes several turns at once. The
// document has a client queue such batches; WIRE_PROTOCOL section 10 forbids
// them since, and the reference client refuses them. What a client must not do
// by either is to deliver some of them and lose the others.
func TestLockstep(t *testing.T) {
	for name, indices := range map[string][]int64{
		"two batches in one response are refused, and none is delivered":       {0, 1},
		"a batch with a continuation is delivered, and the next response read": {0},
	} {
		t.Run(name, func(t *testing.T) {
			responses := [][]byte{response(t, indices, "cursor"), response(t, nil, "")}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Vgi-Accept-Max-Response-Bytes-Support", "true")
				w.Header().Set("Content-Type", "application/vnd.apache.arrow.stream")
				_, err := io.Copy(io.Discard, r.Body)
				if r.Method != http.MethodHead && err == nil {
					_, err = w.Write(responses[0])
					responses = responses[1:]
				}
				if err != nil {
					t.Error(err)
				}
			}))
			defer srv.Close()
			tr, _ := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
			s, err := producerSequence.Open(t.Context(), tr.Client(), SequenceParams{Count: 2})
			noError(t, err)
			n := 0
			for rows, e := range s.All() {
				err = e
				n += len(rows)
			}
			if len(indices) == 1 {
				noError(t, err)
				equal(t, n, 1)
				return
			}
			e, ok := errors.AsType[*vgirpc.Error](err)
			if !ok || e.Type != "ProtocolError" || e.Code != vgirpc.Internal || n != 0 {
				t.Errorf("got %d rows, %v", n, err)
			}
		})
	}
}

// response is the body of a producer's response: a batch for each index, and a
// continuation where there is a cursor.
func response(t *testing.T, indices []int64, cursor string) []byte {
	t.Helper()
	var body bytes.Buffer
	out := wire.NewWriter(&body)
	schema := producerSequence.OutputSchema()
	noError(t, out.Open(schema))
	for _, index := range indices {
		noError(t, out.Batch(&wire.Batch{Schema: schema, Rows: 1, Cols: []wire.Column{
			{Rows: 1, Data: wire.Bytes([]int64{index})}, {Rows: 1, Offsets: wire.Bytes([]int32{0, 0})},
		}}))
	}
	if cursor != "" {
		next := wire.EmptyBatch(schema, wire.Metadata{{Key: wire.KeyStreamState, Value: cursor}, {Key: wire.KeyCallState, Value: "call"}})
		noError(t, out.Batch(&next))
	}
	noError(t, out.Close())
	noError(t, out.Flush())
	return body.Bytes()
}
