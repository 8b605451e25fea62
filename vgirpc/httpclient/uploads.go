package httpclient

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Uploads let a [Transport] send requests that are larger than the server takes:
// it asks the server for a place (WIRE_PROTOCOL section 10, "Upload URL
// generation"), puts the request there, and sends a pointer to it. The server
// chooses the place, so the origins have to be named.
type Uploads struct {
	// Origins may be written to: "scheme://host:port", or "scheme://host" for
	// every port. "https://*" is every host, those of internal networks too.
	Origins []string
	// Transport carries the uploads. Nil is a pool of kept connections of the
	// Transport's own, with the system's authorities. They carry none of the
	// headers and credentials of requests.
	Transport http.RoundTripper
}

// validate reports an origin that makes no sense.
func (u *Uploads) validate() error {
	if len(u.Origins) == 0 {
		return vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: Uploads has no Origins")
	}
	for _, o := range u.Origins {
		if o == anyHTTPS {
			continue
		}
		p, err := url.Parse(o)
		if err != nil || (p.Scheme != "http" && p.Scheme != "https") || p.Hostname() == "" ||
			strings.Contains(p.Host, "*") || o != p.Scheme+"://"+p.Host {
			return vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: Uploads has the origin %q: want scheme://host, scheme://host:port or %s", wire.Clip(o, 60), anyHTTPS)
		}
	}
	return nil
}

const anyHTTPS = "https://*"

// allows reports whether a URL of the server may be written to.
func (u *Uploads) allows(to *url.URL) bool {
	if (to.Scheme != "http" && to.Scheme != "https") || to.Hostname() == "" || to.User != nil {
		return false
	}
	for _, o := range u.Origins {
		if o == anyHTTPS && to.Scheme == "https" || strings.EqualFold(o, to.Scheme+"://"+to.Host) ||
			strings.EqualFold(o, to.Scheme+"://"+to.Hostname()) {
			return true
		}
	}
	return false
}

// typeUpload is the error type of an upload that failed.
const typeUpload = "ExternalUploadFailed"

// oversize reports whether a request has to be uploaded. The limit holds for the
// request as it is before compression (WIRE_PROTOCOL section 10).
func (t *Transport) oversize(body *requestBody) bool {
	if t.opts.Uploads == nil {
		return false
	}
	k := t.known.Load()
	return k != nil && k.UploadURLs && k.MaxRequestBytes > 0 && int64(len(body.plain)) > k.MaxRequestBytes
}

// upload puts a request where the server says, and returns the pointer to send
// instead. What routes the request, and the tokens of a stream, stay on the
// pointer.
func (t *Transport) upload(ctx context.Context, batch *wire.Batch, body *requestBody) (*wire.Batch, error) {
	if k := t.known.Load(); k.MaxUploadBytes > 0 && int64(len(body.plain)) > k.MaxUploadBytes {
		return nil, vgirpc.Errorf(vgirpc.ResourceExhausted, "the request has %d bytes: the server takes uploads of up to %d",
			len(body.plain), k.MaxUploadBytes).WithType(typeUpload)
	}
	places, err := t.UploadURLs(ctx, 1)
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(places[0].Upload)
	if err != nil || !t.opts.Uploads.allows(to) {
		return nil, vgirpc.Errorf(vgirpc.PermissionDenied, "the server's upload URL is not of an origin that Uploads has").WithType(typeUpload)
	}
	put := newRequest(http.MethodPut, to, http.Header{headerContentType: {contentTypeArrow}}).WithContext(ctx)
	put.Body, put.GetBody, put.ContentLength = body.reader(), body.again, int64(len(body.plain))
	resp, err := t.storage.RoundTrip(put)
	if err != nil {
		if ctx.Err() != nil {
			return nil, vgirpc.ContextError(ctx)
		}
		return nil, t.lost(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxForeign) // so that the connection can be used again
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, vgirpc.Errorf(uploadCode(resp.StatusCode), "storage answers the upload of a request with HTTP %d", resp.StatusCode).
			WithType(typeUpload)
	}
	digest := sha256.Sum256(body.plain)
	pointer := wire.EmptyBatch(batch.Schema, batch.Meta.
		With(wire.KeyLocation, places[0].Download).With(wire.KeyLocationSHA256, hex.EncodeToString(digest[:])))
	return &pointer, nil
}

// uploadCode is the code of an upload that storage refused. That a credential or
// a path is wrong is not the caller's: the URL is the server's.
func uploadCode(status int) vgirpc.Code {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return vgirpc.ResourceExhausted
	case status/100 == 5, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return vgirpc.Unavailable
	}
	return vgirpc.FailedPrecondition
}

// MaxUploadURLs is how many places one call of [Transport.UploadURLs] may ask
// for.
const MaxUploadURLs = 100

// UploadURL is where one request that is too large to send may be put
// (WIRE_PROTOCOL section 10, "Upload URL generation"). Both URLs are usually
// signed, each for its own method: treat them as credentials.
type UploadURL struct {
	Upload   string    // takes a PUT of the complete request
	Download string    // what the server reads it from: the location of a pointer
	Expires  time.Time // of both
}

// Schemas of the method behind UploadURLs.
var (
	uploadParams = arrow.NewSchema([]arrow.Field{{Name: "count", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	uploadRows   = []arrow.Field{
		{Name: "upload_url", Type: arrow.BinaryTypes.String},
		{Name: "download_url", Type: arrow.BinaryTypes.String},
		{Name: "expires_at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	}
)

// uploadMetadata is that of a request for upload URLs, which belongs to the
// server and no protocol.
var uploadMetadata = wire.Metadata{
	{Key: wire.KeyMethod, Value: "__upload_url__"},
	{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
}

// UploadURLs asks the server for count places, 1 to [MaxUploadURLs]. A server
// whose [Capabilities] do not have UploadURLs answers with an error.
func (t *Transport) UploadURLs(ctx context.Context, count int) ([]UploadURL, error) {
	if count < 1 || count > MaxUploadURLs {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "%d upload URLs are asked for: want 1 to %d", count, MaxUploadURLs)
	}
	schema, err := wire.NewSchema(uploadParams)
	if err != nil {
		return nil, err
	}
	params := wire.Batch{
		Schema: schema, Rows: 1, Meta: uploadMetadata,
		Cols: []wire.Column{{Rows: 1, Data: wire.Bytes([]int64{int64(count)})}},
	}
	// The method is the server's own; its errors name it by this one.
	m, err := vgirpc.NewUntyped(vgirpc.NewProtocol("server", ""), "upload_urls", vgirpc.UntypedMethod{})
	if err != nil {
		return nil, err
	}
	req := &vgirpc.ClientRequest{Method: m}
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	body, err := t.encode(req, &params)
	if err != nil {
		return nil, err
	}
	defer body.release()
	to := newRequest(http.MethodPost, t.base.JoinPath("__upload_url__", "init"), t.rpcHeader)
	r, err := t.deliver(ctx, nil, to, req, &params, body)
	if err != nil {
		return nil, err
	}
	defer r.release()
	b, err := r.result(req)
	if err != nil {
		return nil, err
	}
	return readUploadURLs(b, count)
}

// readUploadURLs reads the rows of an answer. They are copied: the batch belongs
// to the reply.
func readUploadURLs(b *wire.Batch, want int) ([]UploadURL, error) {
	fields := b.Schema.Arrow().Fields()
	if len(fields) != len(uploadRows) || b.Rows != want {
		return nil, protocolError(nil, "%d upload URLs were asked for: got %d rows of %d columns", want, b.Rows, len(fields))
	}
	for i, f := range fields {
		if f.Name != uploadRows[i].Name || !arrow.TypeEqual(f.Type, uploadRows[i].Type) || b.Cols[i].Nulls != 0 {
			return nil, protocolError(nil, "the server's upload URLs have a column %s: want %s, without nulls", f, uploadRows[i])
		}
	}
	text := func(col, row int) string {
		c := &b.Cols[col]
		from, to := binary.LittleEndian.Uint32(c.Offsets[4*row:]), binary.LittleEndian.Uint32(c.Offsets[4*row+4:])
		return string(c.Data[from:to])
	}
	expires := wire.Values[int64](&b.Cols[2])
	out := make([]UploadURL, b.Rows)
	for i := range out {
		out[i] = UploadURL{text(0, i), text(1, i), time.UnixMicro(expires[i]).UTC()}
	}
	return out, nil
}
