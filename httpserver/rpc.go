package httpserver

import (
	"errors"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// serveUnary answers a unary call.
func (h *Handler) serveUnary(w http.ResponseWriter, r *http.Request) {
	if h.json != nil && isJSONCall(r) {
		h.json.guarded.ServeHTTP(w, r)
		return
	}
	h.serve(w, r, named(r, false), (*request).unary)
}

// serveReserved answers the flat paths of the server's own methods. Any other
// leads nowhere.
func (h *Handler) serveReserved(w http.ResponseWriter, r *http.Request) {
	switch name := chi.URLParam(r, "method"); name {
	case wire.MethodTransport, wire.MethodDescribe:
		h.serve(w, r, target{method: name}, (*request).unary)
	default:
		h.refuse(w, r, unknownPath())
	}
}

// serveInit opens a stream, and takes the first turn of a producer.
func (h *Handler) serveInit(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, named(r, true), (*request).open)
}

// serveExchange takes an open stream one turn further.
func (h *Handler) serveExchange(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, named(r, true), (*request).exchange)
}

// serve makes what answers a request the answer. It returns why the request
// never became a call, having sent nothing, or nil.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, to target, answer func(*request) error) {
	q := h.newRequest(w, r, to)
	defer q.end()
	err := q.begin()
	if err == nil {
		err = answer(q)
	}
	if err != nil {
		h.refuse(w, r, err)
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
		if err := errors.Join(q.collect(opened.HeaderSchema, opened.Header), q.ws.writer.Close()); err != nil {
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
	if err := q.take(d.InputLifetime()); err != nil {
		q.leaveSession()
		d.Abandon(err)
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

// output collects one output cycle. Where there is external storage, and the
// cycle is large, a pointer goes in its place.
func (q *request) output(d *vgirpc.Dispatch, reply *vgirpc.Reply) error {
	if d.Err() != nil || q.h.offload == nil {
		return q.collect(reply.Schema, reply.Batches) // what failed goes out as it is
	}
	budget := int64(-1)
	if most := q.req.Budget.Externalized; most > 0 {
		budget = max(0, most-q.delivery.Externalized)
	}
	placed, uploaded, err := q.h.offload.Place(q, reply.Schema, reply.Batches, budget)
	q.delivery.Externalized += uploaded
	if err != nil {
		return err
	}
	return q.collect(reply.Schema, placed)
}
