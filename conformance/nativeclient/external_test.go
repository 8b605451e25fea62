package nativeclient_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// loopback is where the storage of both workers is.
const loopback = "http://127.0.0.1"

func newOffload(t *testing.T) *external.Offload {
	t.Helper()
	o, err := external.New(external.Options{AllowedOrigins: []string{loopback}})
	noError(t, err)
	t.Cleanup(func() { noError(t, o.Close()) })
	return o
}

// TestExternal is the lane of external storage.
func TestExternal(t *testing.T) {
	bothServers(t, mode{prefix: "/vgi", external: true}, func(t *testing.T, e endpoint) {
		t.Run("discovery tells of storage, of the limits and of upload URLs", func(t *testing.T) {
			tr, _ := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
			caps, err := tr.Capabilities(t.Context())
			noError(t, err)
			equal(t, []any{caps.Externalization, caps.MaxRequestBytes, caps.UploadURLs, caps.MaxUploadBytes},
				[]any{true, int64(externalThreshold), true, int64(maxUpload)})
		})
		t.Run("a large result is fetched and verified", func(t *testing.T) { testFetch(t, e) })
		t.Run("a pointer is no empty result", func(t *testing.T) { testPointer(t, e) })
		t.Run("a large request is uploaded, and a pointer sent", func(t *testing.T) { testUpload(t, e) })
		t.Run("a small call stays in band", func(t *testing.T) {
			tr, rec := transferring(t, e)
			got, err := echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: []byte("small")})
			noError(t, err)
			equal(t, string(got), "small")
			equal(t, lines(rec.take()), []string{"POST /vgi/ClientConformanceService/echo_bytes"})
		})
		t.Run("a large request without a place to upload to is refused by the server, typed", func(t *testing.T) {
			tr, _ := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{Offload: newOffload(t)})
			_, err := echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: pattern(32 << 10)})
			equal(t, vgirpc.CodeOf(err), vgirpc.ResourceExhausted)
		})
		t.Run("a request over the limit of uploads is refused before anything is sent", func(t *testing.T) {
			tr, rec := transferring(t, e)
			_, err := echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: make([]byte, maxUpload)})
			equal(t, vgirpc.CodeOf(err), vgirpc.ResourceExhausted)
			equal(t, len(rec.take()), 0)
		})
		t.Run("an upload to an origin that is not named is refused before it is sent", func(t *testing.T) {
			tr, rec := newTransport(t, e.url, httpclient.Options{Uploads: &httpclient.Uploads{Origins: []string{"https://storage.example"}}},
				vgirpc.ClientOptions{Offload: newOffload(t)})
			_, err := echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: pattern(32 << 10)})
			equal(t, vgirpc.CodeOf(err), vgirpc.PermissionDenied)
			equal(t, lines(rec.take()), []string{"POST /vgi/__upload_url__/init"})
		})
	})
}

// credential is what every request to the worker carries, and none to storage.
const credential = "Bearer not-for-storage"

// transferring returns a transport that fetches and uploads.
func transferring(t *testing.T, e endpoint) (*httpclient.Transport, *recorder) {
	t.Helper()
	return newTransport(t, e.url, httpclient.Options{
		Uploads: &httpclient.Uploads{Origins: []string{loopback}},
		Authorize: func(_ context.Context, h http.Header) error {
			h["Authorization"] = []string{credential}
			return nil
		},
	}, vgirpc.ClientOptions{Offload: newOffload(t)})
}

func testFetch(t *testing.T, e endpoint) {
	t.Helper()
	tr, rec := transferring(t, e)
	got, err := largeResponse.Call(t.Context(), tr.Client(), SizeParams{Size: 32 << 10})
	noError(t, err)
	equal(t, bytes.Equal(got, pattern(32<<10)), true)
	seen := rec.take()
	equal(t, lines(seen), []string{"POST /vgi/ClientConformanceService/large_response"})
	pointer := only(t, seen[0].respBody)
	equal(t, []any{pointer.kind, pointer.rows, len(pointer.meta.Value(wire.KeyLocationSHA256))}, []any{wire.KindExternal, 0, 64})
	equal(t, strings.HasPrefix(pointer.meta.Value(wire.KeyLocation), loopback), true)
	equal(t, seen[0].header.Get("Authorization"), credential)
	if e.store != nil { // the storage of this module tells what it saw
		fetched := e.store.takeFetched()
		equal(t, len(fetched), 1)
		equal(t, fetched[0].header.Get("Authorization"), "")
		// The digest is of what was decoded, not of what is stored.
		equal(t, fetched[0].object.encoding, "zstd")
		stored := sha256.Sum256(fetched[0].object.data)
		equal(t, pointer.meta.Value(wire.KeyLocationSHA256) != hex.EncodeToString(stored[:]), true)
	}
}

func testPointer(t *testing.T, e endpoint) {
	t.Helper()
	tr, _ := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
	_, err := largeResponse.Call(t.Context(), tr.Client(), SizeParams{Size: 32 << 10})
	equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)

	params := wire.Batch{
		Schema: largeResponse.ParamsSchema(), Rows: 1,
		Cols: []wire.Column{{Rows: 1, Data: wire.Bytes([]int64{32 << 10})}},
	}
	b, release, err := tr.Client().CallBatch(t.Context(), largeResponse.Method, &params)
	noError(t, err)
	defer release()
	equal(t, b.Kind(), wire.KindExternal)
	o := newOffload(t)
	_, free, err := o.Resolve(t.Context(), b, largeResponse.ResultSchema(), nil)
	noError(t, err)
	free()

	digest := b.Meta.Value(wire.KeyLocationSHA256)
	forged := wire.EmptyBatch(b.Schema, b.Meta.With(wire.KeyLocationSHA256, strings.Repeat("0", len(digest))))
	_, free, err = o.Resolve(t.Context(), &forged, largeResponse.ResultSchema(), nil)
	free()
	equal(t, vgirpc.CodeOf(err), vgirpc.DataLoss)
}

func testUpload(t *testing.T, e endpoint) {
	t.Helper()
	tr, rec := transferring(t, e)
	value := pattern(32 << 10)
	got, err := echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: value})
	noError(t, err)
	equal(t, bytes.Equal(got, value), true)

	seen := rec.take()
	equal(t, len(seen), 3)
	asked, put, sent := seen[0], seen[1], seen[2]
	equal(t, lines(seen), []string{"POST /vgi/__upload_url__/init", "PUT " + put.path, "POST /vgi/ClientConformanceService/echo_bytes"})
	equal(t, only(t, asked.body).meta.Value(wire.KeyMethod), "__upload_url__")

	request := only(t, put.body)
	equal(t, []any{request.kind, request.rows}, []any{wire.KindData, 1})
	equal(t, request.meta.Value(wire.KeyMethod), "echo_bytes")
	equal(t, bytes.Contains(put.body, value), true)
	for _, name := range []string{"Authorization", "Vgi-Accept-Max-Response-Bytes", "Vgi-Session", "Cookie"} {
		equal(t, put.header.Get(name), "")
	}

	pointer := only(t, sent.body)
	digest := sha256.Sum256(put.body)
	equal(t, []any{pointer.kind, pointer.rows}, []any{wire.KindExternal, 0})
	equal(t, pointer.meta.Value(wire.KeyLocationSHA256), hex.EncodeToString(digest[:]))
	download := pointer.meta.Value(wire.KeyLocation)
	equal(t, download != put.url, true)
	equal(t, only(t, sent.respBody).kind, wire.KindExternal)

	// Neither URL takes the other's method, so one URL for both could not pass.
	equal(t, e.status(t, http.MethodGet, download), http.StatusOK)
	equal(t, e.status(t, http.MethodGet, put.url)/100, 4)
	equal(t, e.status(t, http.MethodPut, download)/100, 4)
}
