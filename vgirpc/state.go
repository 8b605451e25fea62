package vgirpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Snapshot is an open stream between two turns in a form that another process
// can resume: what an HTTP transport seals into its tokens.
type Snapshot struct {
	Protocol, Method string
	StateType        string // among the state types that the handler declared
	State            []byte
	OutputSchema     []byte // schema message of a Dynamic output; else empty
	StreamID         string
	RequestID        string
	Deadline         time.Time // by which the caller wants the stream to be over; zero for none
}

// stateSet stores and restores the states of one stream method.
type stateSet struct {
	err   error // why states cannot be stored
	types map[string]*stateType
	wrap  func(any) (openStream, error)
}

// stateType is one concrete state type: a pointer to a struct, or a value that
// marshals itself.
type stateType struct {
	typ  reflect.Type
	plan *codec.Plan // nil: the state implements encoding.BinaryMarshaler
	mark [markBytes]byte
	// zero is the zero state as an IPC stream, or what of it all states share:
	// the schema message, if the zero state cannot be stored.
	zero []byte
}

// markBytes is the length of the mark before every stored state: what is left of
// a digest of all that its reader must agree on. A state stored by a build that
// laid it out otherwise is refused, never misread.
const markBytes = 8

// sign computes the mark of a state type of m.
func (t *stateType) sign(m *Method) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(m.fullName), []byte(t.typ.String()), t.zero, m.output.Message(), m.input.Message()} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	copy(t.mark[:], h.Sum(nil))
}

// newStateSet prepares the storage of the states that opening a stream of m may
// return: those listed, or the type S itself.
func newStateSet[S any](m *Method, listed []any, wrap func(S) openStream) *stateSet {
	set := &stateSet{types: map[string]*stateType{}}
	set.wrap = func(state any) (openStream, error) {
		s, ok := state.(S)
		if !ok {
			return nil, fmt.Errorf("vgirpc: %s: stored state is a %T, not a %v", m, state, reflect.TypeFor[S]())
		}
		return wrap(s), nil
	}
	candidates := make([]reflect.Type, 0, len(listed))
	for _, v := range listed {
		candidates = append(candidates, reflect.TypeOf(v))
	}
	if len(candidates) == 0 {
		candidates = append(candidates, reflect.TypeFor[S]())
	}
	for _, t := range candidates {
		st, err := newStateType(t)
		if err != nil {
			set.err = fmt.Errorf("vgirpc: the stream state of %s cannot be stored: %w", m, err)
			continue
		}
		st.sign(m)
		set.types[t.String()] = st
	}
	return set
}

func newStateType(t reflect.Type) (*stateType, error) {
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("%v is not a pointer to a struct: return one, or list the types in StreamOptions.States", t)
	}
	if t.Implements(reflect.TypeFor[encoding.BinaryMarshaler]()) && t.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()) {
		return &stateType{typ: t}, nil
	}
	plan, err := codec.CompileState(t.Elem())
	if err != nil {
		return nil, err
	}
	st := &stateType{typ: t, plan: plan}
	if st.zero, err = plan.Marshal(reflect.New(t.Elem()).UnsafePointer()); err != nil {
		st.zero = plan.Message()
	}
	return st, nil
}

// StateError reports why the streams of a method cannot be stored between
// turns, naming method and field; nil when they can. A transport that has to
// store them checks it when it is built.
func (s *Server) StateError(m *Method) error {
	b := s.bindings[m.protocol.name]
	if b == nil || b.handlers[m.name] == nil || b.handlers[m.name].states == nil {
		return nil
	}
	return b.handlers[m.name].states.err
}

// Snapshot stores an open stream between two turns.
func (d *Dispatch) Snapshot() (snap *Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil { // in the state's MarshalBinary
			snap, err = nil, panicError(p)
		}
	}()
	if d.stream == nil {
		return nil, Errorf(FailedPrecondition, "no open stream to store")
	}
	set := d.handler.states
	state := d.stream.state()
	st := set.types[reflect.TypeOf(state).String()]
	if st == nil {
		if set.err != nil {
			return nil, set.err
		}
		return nil, fmt.Errorf("vgirpc: %s returned a state of type %T, which StreamOptions.States does not list", d.call.method, state)
	}
	data, err := st.encode(state)
	if err != nil {
		return nil, fmt.Errorf("vgirpc: state of %s: %w", d.call.method, err)
	}
	snap = &Snapshot{
		Protocol: d.call.protocol.name, Method: d.call.method.name, StateType: st.typ.String(), State: data,
		StreamID: d.call.StreamID(), RequestID: d.call.RequestID(), Deadline: d.deadline,
	}
	if d.call.method.output == nil {
		snap.OutputSchema = d.call.output.Message()
	}
	return snap, nil
}

// encode returns the mark and the state behind it: what it marshals itself to,
// or its row as an IPC stream, of which only what lies between the beginning and
// the end that it shares with the zero state is kept. That is a few bytes more
// than its values.
func (t *stateType) encode(state any) ([]byte, error) {
	if t.plan == nil {
		data, err := state.(encoding.BinaryMarshaler).MarshalBinary() //nolint:forcetypeassert // checked at registration
		return append(t.mark[:], data...), err
	}
	data, err := t.plan.Marshal(reflect.ValueOf(state).UnsafePointer())
	if err != nil {
		return nil, err
	}
	head, tail := shared(data, t.zero)
	out := make([]byte, 0, markBytes+2*binary.MaxVarintLen32+len(data)-head-tail)
	out = binary.AppendUvarint(append(out, t.mark[:]...), uint64(head))
	out = binary.AppendUvarint(out, uint64(tail))
	return append(out, data[head:len(data)-tail]...), nil
}

// shared is how many bytes a and b begin and end with alike, without overlap.
func shared(a, b []byte) (head, tail int) {
	most := min(len(a), len(b))
	for head < most && a[head] == b[head] {
		head++
	}
	for tail < most-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head, tail
}

// whole puts a state's stream together again from what encode kept of it.
func (t *stateType) whole(kept []byte) ([]byte, error) {
	head, n := binary.Uvarint(kept)
	if n <= 0 || head > uint64(len(t.zero)) {
		return nil, errOtherLayout
	}
	tail, m := binary.Uvarint(kept[n:])
	if m <= 0 || tail > uint64(len(t.zero))-head {
		return nil, errOtherLayout
	}
	return slices.Concat(t.zero[:head], kept[n+m:], t.zero[uint64(len(t.zero))-tail:]), nil
}

var errOtherLayout = errors.New("it was stored with another layout")

func (t *stateType) decode(data []byte) (state any, err error) {
	data, ok := bytes.CutPrefix(data, t.mark[:])
	if !ok {
		return nil, errOtherLayout
	}
	v := reflect.New(t.typ.Elem())
	if t.plan == nil {
		defer func() {
			if p := recover(); p != nil {
				state, err = nil, panicError(p)
			}
		}()
		return v.Interface(), v.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(data) //nolint:forcetypeassert // checked at registration
	}
	if data, err = t.whole(data); err != nil {
		return nil, err
	}
	return v.Interface(), t.plan.Unmarshal(data, v.UnsafePointer())
}

// Resume takes up a stored stream where it stood: the result is ready for
// [Dispatch.Turn]. The request's metadata is that of the request that brought
// the snapshot. What is logged before the turn goes out with reply, which is
// the one to pass to Turn.
func (s *Server) Resume(ctx context.Context, snap *Snapshot, req *Request, reply *Reply) (*Dispatch, error) {
	b := s.bindings[snap.Protocol]
	if b == nil || b.handlers[snap.Method] == nil || b.handlers[snap.Method].states == nil {
		return nil, Errorf(InvalidArgument, "stored stream of %s/%s: no such stream is hosted here", snap.Protocol, snap.Method)
	}
	h := b.handlers[snap.Method]
	st := h.states.types[snap.StateType]
	if st == nil {
		return nil, Errorf(InvalidArgument, "stored stream of %s: its state type is not one of the method's", h.method)
	}
	state, err := st.decode(snap.State)
	if err != nil {
		return nil, Errorf(InvalidArgument, "stored stream of %s: %w", h.method, err)
	}
	d := &Dispatch{handler: h}
	d.call = Call{
		server: s, dispatch: d, method: h.method, protocol: b.protocol, hash: b.hash, peer: req.Peer, meta: req.Meta,
		streamID: snap.StreamID, requestID: snap.RequestID, budget: req.Budget, phase: PhaseTurn,
	}
	if req.ID != "" {
		d.call.requestID = req.ID
	}
	d.ctx = callContext{ctx, &d.call}
	if d.call.output, err = s.storedOutput(h.method, snap); err != nil {
		return nil, err
	}
	if d.stream, err = h.states.wrap(state); err != nil {
		return nil, err
	}
	d.reply = reply
	if !snap.Deadline.IsZero() {
		d.expireAt(snap.Deadline)
	}
	d.observe()
	if r, ok := state.(Rehydrator); ok {
		d.rehydrate = r.Rehydrate
	}
	return d, nil
}

func (s *Server) storedOutput(m *Method, snap *Snapshot) (*wire.Schema, error) {
	if m.output != nil {
		return m.output.Schema(), nil
	}
	schema, err := s.schemas.Parse(snap.OutputSchema)
	if err != nil {
		return nil, Errorf(InvalidArgument, "stored stream of %s: %w", m, err)
	}
	return schema, nil
}
