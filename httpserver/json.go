package httpserver

import (
	"errors"
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
	return g, err
}

// isJSONCall reports whether a request is for the gateway.
func isJSONCall(r *http.Request) bool {
	return r.URL.RawQuery != "" && r.URL.Query().Get("format") == "json"
}

// serve answers a request that has passed the guard.
func (g *jsonGateway) serve(w http.ResponseWriter, r *http.Request) {
	status, answer := g.call(w, r)
	body, err := answer.Append(nil)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"INTERNAL","message":"the answer has no form in JSON"}}`)
	}
	out := w.Header()
	out[headerContentType] = []string{"application/json"}
	out["Cache-Control"] = []string{"no-store"}
	out["X-Content-Type-Options"] = []string{"nosniff"}
	out["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, with its content type and nosniff; the peer may be gone
}

// call makes the call that a request asks for.
func (g *jsonGateway) call(w http.ResponseWriter, r *http.Request) (int, *jsoncall.Answer) {
	q := g.h.newRequest(w, r, named(r, false))
	client, err := clientLimit(r.Header)
	if err != nil {
		return http.StatusBadRequest, jsoncall.Fail(err)
	}
	q.budget = g.h.budget(client, 0)
	if q.route, err = g.h.server.Lookup(q.protocol, q.method); err != nil {
		return http.StatusNotFound, jsoncall.Fail(err)
	}
	codec := g.codecs[q.route.Method()]
	if codec == nil {
		return http.StatusBadRequest, jsoncall.Fail(vgirpc.Errorf(vgirpc.InvalidArgument, "%s is a stream, or has types without a form in JSON", q.method))
	}
	if err := g.h.takeOff(); err != nil {
		return http.StatusServiceUnavailable, jsoncall.Fail(err)
	}
	defer g.h.inFlight.Add(-1)
	if err := g.h.start(q); err != nil {
		return http.StatusInternalServerError, jsoncall.Fail(vgirpc.Errorf(vgirpc.Internal, "the server could not start to serve"))
	}
	params, err := codec.Params(r.Body, g.limit)
	if errors.Is(err, jsoncall.ErrTooLarge) {
		return http.StatusRequestEntityTooLarge, jsoncall.Fail(err)
	} else if err != nil {
		return http.StatusBadRequest, jsoncall.Fail(err)
	}
	return g.dispatch(q, codec, params)
}

// dispatch runs a call whose parameters were read.
func (g *jsonGateway) dispatch(q *request, codec *jsoncall.Codec, params *wire.Batch) (int, *jsoncall.Answer) {
	meta := codec.Method().RequestMetadata()
	params.Meta = meta
	var reply vgirpc.Reply
	d := g.h.server.Begin(q, q.route, &vgirpc.Request{
		Meta: meta, Batch: params, Peer: &q.peer, ID: q.w.Header()[headerRequestID][0], Budget: q.budget,
	}, &reply)
	defer func() { d.End(q.delivery) }()
	answer, err := codec.Answer(reply.Batches)
	if err != nil {
		answer = jsoncall.Fail(err)
	}
	status := statusOf(d)
	if d.Err() != nil && status == http.StatusOK {
		q.w.Header()[headerRPCError] = []string{"true"}
	}
	q.delivery.HTTPStatus = status
	return status, answer
}
