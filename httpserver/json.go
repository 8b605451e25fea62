package httpserver

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// jsonGateway calls unary methods with JSON (see [JSONGateway]).
type jsonGateway struct {
	h       *Handler
	limit   int64
	codecs  map[*vgirpc.Method]*jsoncall.Codec
	guarded http.Handler
}

func newJSONGateway(h *Handler) (*jsonGateway, error) {
	g := &jsonGateway{h: h, limit: smaller(h.opts.JSON.MaxBodyBytes, h.opts.MaxRequestBytes), codecs: map[*vgirpc.Method]*jsoncall.Codec{}}
	for _, p := range h.server.Protocols() {
		for _, m := range p.Methods() {
			if m.Kind() != vgirpc.KindUnary {
				continue
			}
			if codec, err := jsoncall.New(m); err == nil { // else its types have no form in JSON
				g.codecs[m] = codec
			}
		}
	}
	var err error
	g.guarded, err = jsoncall.Guard(jsoncall.GuardOptions{AllowedHosts: h.opts.JSON.Hosts}, http.HandlerFunc(g.serve))
	g.guarded = h.watched(g.guarded, "")
	return g, err
}

// isJSONCall reports whether a request is for the gateway.
func isJSONCall(r *http.Request) bool {
	return r.URL.RawQuery != "" && r.URL.Query().Get("format") == "json"
}

// serve answers a request that has passed the guard.
func (g *jsonGateway) serve(w http.ResponseWriter, r *http.Request) {
	to, _ := g.h.callOf(r.URL.EscapedPath())
	q := g.h.newRequest(w, r, to)
	codec, params, err := g.read(q)
	if err != nil {
		status, err := jsonStatus(err)
		g.fail(q, status, err)
		q.refused(status, err)
		return
	}
	defer g.h.land()
	g.dispatch(q, codec, params)
}

// read makes a request batch of a request, and counts the call in unless it
// fails.
func (g *jsonGateway) read(q *request) (*jsoncall.Codec, *wire.Batch, error) {
	if err := q.lookUp(); err != nil {
		return nil, nil, err
	}
	codec := g.codecs[q.route.Method()]
	if codec == nil {
		return nil, nil, vgirpc.Errorf(vgirpc.InvalidArgument, "%s is a stream, or has types without a form in JSON", q.method)
	}
	if err := g.h.takeOff(); err != nil {
		return nil, nil, err
	}
	q.body.src = q.r.Body
	params, err := codec.Params(&q.body, g.limit)
	q.delivery.WireIn = q.body.n
	switch {
	case err == nil:
		err = q.start()
	case stalled(err):
		err = stall(err)
	}
	if err != nil {
		g.h.land()
	}
	return codec, params, err
}

// dispatch runs a call whose parameters were read.
func (g *jsonGateway) dispatch(q *request, codec *jsoncall.Codec, params *wire.Batch) {
	params.Meta = codec.Method().RequestMetadata()
	q.req.Meta, q.req.Batch = params.Meta, params
	var reply vgirpc.Reply
	d := g.h.server.Begin(q, q.route, &q.req, &reply)
	defer func() { d.End(q.delivery) }() // after what is known then
	answer, err := codec.Answer(reply.Batches)
	var body []byte
	if err == nil {
		body, err = answer.Append(nil)
	}
	if err == nil && d.Err() == nil {
		err = q.fits(int64(len(body)))
	}
	if err != nil {
		d.Replace(err, &reply)
		g.fail(q, q.status(d), err)
		return
	}
	status := q.status(d)
	if err := d.Err(); err != nil {
		announceError(q.w.Header(), status, err)
		q.refusedByCore(d, status)
	}
	g.send(q, status, body)
}

// fail answers with an error that is not the method's.
func (g *jsonGateway) fail(q *request, status int, err error) {
	announceError(q.w.Header(), status, err)
	body, err := jsoncall.Fail(err).Append(nil)
	if err != nil {
		g.h.log.LogAttrs(q, slog.LevelError, "an error could not be encoded", slog.Any("error", err))
	}
	g.send(q, status, body)
}

func (g *jsonGateway) send(q *request, status int, body []byte) {
	out := q.w.Header()
	out[headerContentType] = []string{"application/json"}
	out["Cache-Control"] = []string{"no-store"}
	out["X-Content-Type-Options"] = []string{"nosniff"}
	out[headerContentLength] = []string{strconv.Itoa(len(body))}
	q.delivery.HTTPStatus, q.delivery.WireOut = status, int64(len(body))
	q.w.WriteHeader(status)
	_, _ = q.w.Write(body) //nolint:gosec // JSON, with its content type and nosniff; the peer may be gone
}
