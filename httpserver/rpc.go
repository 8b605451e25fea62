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
	h.unary(w, r, named(r, false))
}

// serveReserved answers the flat paths of the server's own methods. Any other
// leads nowhere.
func (h *Handler) serveReserved(w http.ResponseWriter, r *http.Request) {
	switch name := chi.URLParam(r, "method"); name {
	case wire.MethodTransport, wire.MethodDescribe:
		h.unary(w, r, target{method: name})
	default:
		h.refuse(w, r, http.StatusNotFound, unknownPath())
	}
}

func (h *Handler) unary(w http.ResponseWriter, r *http.Request, to target) {
	q, end, err := h.begin(w, r, to)
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	defer end()
	req, err := q.readRequest()
	if err == nil {
		err = q.enter()
	}
	if err != nil {
		q.h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	reply := &q.ws.opened
	d := h.server.Begin(q, q.route, &req, reply)
	placed, err := q.place(d, reply)
	if err == nil {
		err = q.collect(reply.Schema, placed)
	}
	q.deliver(d, reply, err)
}

// readRequest reads the request batch of a call.
func (q *request) readRequest() (vgirpc.Request, error) {
	var meta wire.Metadata
	req, err := q.read(&meta, func(wire.Metadata) (wire.Lifetime, error) { return q.route.Lifetime(), nil })
	if err == nil {
		q.resolvePointer(&req)
	}
	return req, err
}

// place lets the batches of one output cycle leave for external storage, where
// there is one and they are large.
func (q *request) place(d *vgirpc.Dispatch, reply *vgirpc.Reply) ([]wire.Batch, error) {
	if d.Err() != nil || q.h.offload == nil {
		return reply.Batches, nil //nolint:nilerr // what failed goes out as it is
	}
	budget := q.budget.Externalized
	if budget == 0 {
		budget = -1
	} else {
		budget -= q.delivery.Externalized
	}
	placed, uploaded, err := q.h.offload.Place(q, reply.Schema, reply.Batches, budget)
	q.delivery.Externalized += uploaded
	return placed, err
}

// resolvePointer puts the batch that a request points to in its place.
func (q *request) resolvePointer(req *vgirpc.Request) {
	if req.Err != nil || q.h.offload == nil || req.Batch.Kind() != wire.KindExternal {
		return
	}
	batch, _, err := q.h.offload.Resolve(q, req.Batch, nil, nil)
	if err != nil {
		req.Err = err
		return
	}
	meta := slices.Clone(req.Meta).Without(func(key string) bool { return key == wire.KeyLocation || key == wire.KeyLocationSHA256 })
	for _, p := range batch.Meta {
		meta = meta.With(p.Key, p.Value)
	}
	resolved := *batch
	resolved.Meta = meta
	req.Batch, req.Meta = &resolved, meta
}

// serveInit opens a stream, and takes the first turn of a producer.
func (h *Handler) serveInit(w http.ResponseWriter, r *http.Request) {
	q, end, err := h.begin(w, r, named(r, true))
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	defer end()
	req, err := q.readRequest()
	if err == nil {
		err = q.enter()
	}
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	d := h.server.Begin(q, q.route, &req, &q.ws.opened)
	reply, err := q.opened(d, &req)
	q.deliver(d, reply, err)
}

// opened collects what the opening of a stream sends.
func (q *request) opened(d *vgirpc.Dispatch, req *vgirpc.Request) (*vgirpc.Reply, error) {
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
		tick := wire.EmptyBatch(wire.EmptySchema(), withoutCancel(req.Meta))
		d.Turn(&tick, turned)
		placed, err := q.place(d, turned)
		if err == nil {
			err = q.collect(turned.Schema, placed)
		}
		if err != nil || turned.Done {
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

// serveExchange takes an open stream one turn further.
func (h *Handler) serveExchange(w http.ResponseWriter, r *http.Request) {
	q, end, err := h.begin(w, r, named(r, true))
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	defer end()
	var call *storedCall
	var d *vgirpc.Dispatch
	reply := &q.ws.turned
	var meta wire.Metadata
	req, err := q.read(&meta, func(meta wire.Metadata) (wire.Lifetime, error) {
		if call, d, err = q.resume(meta, reply); err != nil {
			return wire.Borrow, err
		}
		return d.InputLifetime(), nil
	})
	if err != nil {
		if d != nil {
			q.leaveSession()
			d.Abandon(err)
			d.End(q.delivery)
		}
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	q.deliver(d, reply, q.turn(d, call, &req, reply))
}

// resume takes up the stream that the tokens name.
func (q *request) resume(meta wire.Metadata, reply *vgirpc.Reply) (*storedCall, *vgirpc.Dispatch, error) {
	call, state, err := q.resolve(meta)
	if err != nil {
		return nil, nil, &statusError{http.StatusBadRequest, err}
	}
	if err := q.enter(); err != nil {
		return nil, nil, err
	}
	q.budget = q.h.budget(q.client, call.limit)
	snap := call.snap
	snap.State = state
	req := vgirpc.Request{Meta: meta, Peer: &q.peer, ID: q.w.Header()[headerRequestID][0], Budget: q.budget}
	d, err := q.h.server.Resume(q, &snap, &req, reply)
	if err != nil {
		q.leaveSession()
		return nil, nil, &statusError{http.StatusBadRequest, errToken()}
	}
	return call, d, nil
}

// turn takes the stream one step further and collects what that sends.
func (q *request) turn(d *vgirpc.Dispatch, call *storedCall, req *vgirpc.Request, reply *vgirpc.Reply) error {
	q.resolvePointer(req)
	if req.Err != nil {
		d.Fail(req.Err, reply)
		return q.collect(reply.Schema, reply.Batches)
	}
	d.Turn(req.Batch, reply)
	if reply.Done {
		q.h.calls.drop(call.id)
		placed, err := q.place(d, reply)
		if err != nil {
			return err
		}
		return q.collect(reply.Schema, placed)
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
	placed, err := q.place(d, reply)
	if err == nil {
		err = q.collect(reply.Schema, placed)
	}
	if err != nil || exchange {
		return err
	}
	token := wire.EmptyBatch(reply.Schema, wire.Metadata{pair})
	return q.ws.writer.Batch(&token)
}
