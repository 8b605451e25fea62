package httpserver

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// answer is one way to answer a request that has begun. It returns why the
// request never became a call, having sent nothing, or nil.
type answer func(*request) error

// callOf is what a path calls, and how: nil when it is not the path of a call.
// Names are not decoded. It stands before the router, which would cost a call
// more than its dispatch.
func (h *Handler) callOf(path string) (target, answer) {
	path, ok := strings.CutPrefix(path, h.opts.Prefix+"/")
	if !ok {
		return target{}, nil
	}
	protocol, rest, ok := strings.Cut(path, "/")
	if !ok {
		return reserved(path)
	}
	method, verb, _ := strings.Cut(rest, "/")
	switch {
	case protocol == methodUploads || method == "":
		return target{}, nil
	case len(method) == len(rest):
		return target{protocol, method, false}, (*request).unary
	case verb == "init":
		return target{protocol, method, true}, (*request).open
	case verb == "exchange":
		return target{protocol, method, true}, (*request).exchange
	}
	return target{}, nil
}

// reserved is what the flat path of one of the server's own methods calls.
func reserved(name string) (target, answer) {
	switch name {
	case wire.MethodTransport, wire.MethodDescribe:
		return target{method: name}, (*request).unary
	}
	return target{}, nil
}

// callsFirst answers calls, and leaves everything else to next.
func (h *Handler) callsFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, answer := h.callOf(r.URL.EscapedPath())
		switch {
		case answer == nil:
			next.ServeHTTP(w, r)
		case r.Method != http.MethodPost:
			h.otherVerb(w, r, to, next)
		case h.json != nil && isJSONCall(r):
			h.json.guarded.ServeHTTP(w, r)
		default:
			h.serve(w, r, to, answer)
		}
	})
}

// otherVerb tells a call that is made with the wrong verb from a path that leads
// nowhere.
func (h *Handler) otherVerb(w http.ResponseWriter, r *http.Request, to target, next http.Handler) {
	if !h.hosts(to.protocol) {
		next.ServeHTTP(w, r)
		return
	}
	w.Header()["Allow"] = []string{http.MethodPost}
	http.Error(w, "calls are made with POST", http.StatusMethodNotAllowed)
	h.report(w, r, refusedRequest{
		status: http.StatusMethodNotAllowed, reason: vgirpc.RefusedVerb, who: identityOf(r), to: to, began: h.begun(),
	})
}

func (h *Handler) hosts(protocol string) bool {
	for _, p := range h.server.Protocols() {
		if p.Name() == protocol {
			return true
		}
	}
	return false
}

// serve answers a request.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, to target, answer answer) {
	q := h.newRequest(w, r, to)
	defer q.end()
	err := q.begin()
	if err == nil {
		err = answer(q)
	}
	if err != nil {
		h.refuse(w, r, err)
		q.refused(statusOf(err))
	}
}

// unary makes a unary call.
func (q *request) unary() error {
	if err := q.readCall(); err != nil {
		return err
	}
	reply := &q.ws.opened
	d := q.h.server.Begin(q, q.route, &q.req, reply)
	q.deliver(d, reply, q.output(d, reply))
	return nil
}

// open opens a stream.
func (q *request) open() error {
	if err := q.readCall(); err != nil {
		return err
	}
	d := q.h.server.Begin(q, q.route, &q.req, &q.ws.opened)
	reply, err := q.opened(d)
	q.deliver(d, reply, err)
	return nil
}

// opened collects what the opening of a stream sends, and returns the reply that
// an error would have to replace.
func (q *request) opened(d *vgirpc.Dispatch) (*vgirpc.Reply, error) {
	opened, turned := &q.ws.opened, &q.ws.turned
	if !d.Open() {
		return opened, q.collect(opened.Schema, opened.Batches)
	}
	if opened.HeaderSchema != nil {
		if err := errors.Join(q.cycle(d, opened.HeaderSchema, opened.Header), q.ws.writer.Close()); err != nil {
			return opened, err
		}
	}
	if err := q.collect(opened.Schema, opened.Batches); err != nil {
		return opened, err
	}
	if d.Method().Kind() == vgirpc.KindProducer {
		tick := wire.EmptyBatch(wire.EmptySchema(), withoutCancel(q.req.Meta))
		d.Turn(&tick, turned)
		if err := q.output(d, turned); err != nil || turned.Done {
			return turned, err
		}
	}
	cursor, call, err := q.store(d, nil)
	if err != nil {
		return turned, err
	}
	q.h.calls.put(call)
	q.delivery.ResponseState = int64(len(cursor))
	tokens := wire.EmptyBatch(opened.Schema, wire.Metadata{
		{Key: wire.KeyStreamState, Value: cursor}, {Key: wire.KeyCallState, Value: q.sealCall(call)},
	})
	return turned, q.ws.writer.Batch(&tokens)
}

// withoutCancel is the metadata of the tick that opens a producer: nobody
// cancels what he opens.
func withoutCancel(meta wire.Metadata) wire.Metadata {
	if !meta.Has(wire.KeyCancel) {
		return meta
	}
	return meta.Without(func(key string) bool { return key == wire.KeyCancel })
}

// exchange takes up a stream and takes it one turn further.
func (q *request) exchange() error {
	if err := q.announce(); err != nil {
		return err
	}
	reply := &q.ws.turned
	call, d, err := q.resume(reply)
	if err != nil {
		return err
	}
	if err := q.take(d.Context(), d.InputLifetime()); err != nil {
		q.leaveSession()
		status, why := statusOf(err)
		// A stall ends the request's context as well, and its caller is told so.
		if q.r.Context().Err() != nil && status != http.StatusRequestTimeout {
			d.Abandon(err)
		} else {
			q.delivery.HTTPStatus = status
			d.Fail(why, reply)
		}
		d.End(q.delivery)
		return err
	}
	q.deliver(d, reply, q.turn(d, call, reply))
	return nil
}

// resume takes up the stream that the tokens name.
func (q *request) resume(reply *vgirpc.Reply) (*storedCall, *vgirpc.Dispatch, error) {
	call, state, err := q.resolve(q.req.Meta)
	if err != nil {
		return nil, nil, err
	}
	if err := q.enter(); err != nil {
		return nil, nil, err
	}
	q.req.Budget = q.h.budget(q.client, call.limit)
	snap := call.snap
	snap.State = state
	d, err := q.h.server.Resume(q, &snap, &q.req, reply)
	if err != nil {
		q.leaveSession()
		// The caller's tokens were good: it is the program that has changed.
		q.h.log.LogAttrs(q, slog.LevelWarn, "a stream cannot be taken up",
			slog.String("method", q.route.Method().String()), slog.Any("error", err))
		return nil, nil, errToken()
	}
	return call, d, nil
}

// turn takes the stream one step further and collects what that sends.
func (q *request) turn(d *vgirpc.Dispatch, call *storedCall, reply *vgirpc.Reply) error {
	if q.req.Err != nil {
		d.Fail(q.req.Err, reply)
		return q.collect(reply.Schema, reply.Batches)
	}
	d.Turn(q.req.Batch, reply)
	if reply.Done {
		q.h.calls.drop(call.id)
		return q.output(d, reply)
	}
	cursor, _, err := q.store(d, call)
	if err != nil {
		return err
	}
	q.delivery.ResponseState = int64(len(cursor))
	pair := wire.Pair{Key: wire.KeyStreamState, Value: cursor}
	exchange := d.Method().Kind() == vgirpc.KindExchange
	if exchange {
		data := &reply.Batches[len(reply.Batches)-1]
		data.Meta = append(slices.Clip(data.Meta), pair)
	}
	if err := q.output(d, reply); err != nil || exchange {
		return err
	}
	token := wire.EmptyBatch(reply.Schema, wire.Metadata{pair})
	return q.ws.writer.Batch(&token)
}

// output collects what a step sends.
func (q *request) output(d *vgirpc.Dispatch, reply *vgirpc.Reply) error {
	return q.cycle(d, reply.Schema, reply.Batches)
}

// cycle collects one output cycle. Where there is external storage, and the
// cycle is large, a pointer goes in its place.
func (q *request) cycle(d *vgirpc.Dispatch, schema *wire.Schema, batches []wire.Batch) error {
	budget := int64(-1)
	if most := q.req.Budget.Externalized; most > 0 {
		budget = max(0, most-q.delivery.Externalized)
	}
	placed, uploaded, err := d.Place(schema, batches, budget)
	q.delivery.Externalized += uploaded
	if err != nil {
		return err
	}
	return q.collect(schema, placed)
}
