package recording

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// KindNotRecorded is the kind of the error that answers what is not in the
// recording.
const KindNotRecorded = "not_recorded"

// notRecorded is that error.
func notRecorded(what string) *wire.Status {
	return &wire.Status{
		Type: "NotRecordedError", Code: "NOT_FOUND", Kind: KindNotRecorded,
		Message: what + " is not in the recording: record it, or call what was recorded",
	}
}

// Mock answers requests as the recorded server did.
type Mock struct {
	mu     sync.Mutex
	calls  map[string]*answers[*Call]
	routes map[string]*answers[*Exchange]
}

// answers are what equal requests got, in their order.
type answers[T any] struct {
	all  []T
	next int
}

// take is the next answer; the last one again when there are no more.
func (a *answers[T]) take() T {
	i := min(a.next, len(a.all)-1)
	a.next++
	return a.all[i]
}

// NewMock makes a server of a recording with payloads: one for byte streams, or
// for HTTP where that was recorded.
func NewMock(info Info, frames []Frame) (*Mock, error) {
	m := &Mock{calls: map[string]*answers[*Call]{}, routes: map[string]*answers[*Exchange]{}}
	if !info.Payloads {
		return nil, ErrRedacted
	}
	if info.Transport == "http" {
		for _, x := range Exchanges(frames) {
			if x.Response == nil || x.Lost {
				continue
			}
			addAnswer(m.routes, x.key(), x)
		}
		return m, nil
	}
	calls, err := Calls(info, frames)
	if err != nil {
		return nil, err
	}
	for _, c := range calls {
		if c.Gap != "" {
			continue
		}
		key, err := requestKey(c.Request)
		if err != nil {
			return nil, err
		}
		addAnswer(m.calls, key, c)
	}
	return m, nil
}

func addAnswer[T any](to map[string]*answers[T], key string, answer T) {
	if to[key] == nil {
		to[key] = &answers[T]{}
	}
	to[key].all = append(to[key].all, answer)
}

// find is the answer to a request, the zero value when there is none.
func find[T any](m *Mock, in map[string]*answers[T], key string) (answer T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := in[key]
	if a == nil {
		return answer, false
	}
	return a.take(), true
}

// requestKey is what makes two requests the same: protocol, method, parameters.
func requestKey(b *wire.Batch) (string, error) {
	params, err := Canonical(b)
	if err != nil {
		return "", err
	}
	return keyOf(b.Meta.Value(wire.KeyProtocol), b.Meta.Value(wire.KeyMethod), string(params)), nil
}

func keyOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		io.WriteString(h, p) //nolint:errcheck // a hash never fails
	}
	return string(h.Sum(nil))
}

// Serve answers requests on a byte stream until its end, which is no error.
func (m *Mock) Serve(rw io.ReadWriter) error {
	s := &mockConn{m: m, rw: rw, r: wire.NewReader(rw, wire.Limits{}, nil), w: wire.NewWriter(rw)}
	defer s.r.Close()
	for {
		err := s.one()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
	}
}

// mockConn is a connection to a Mock.
type mockConn struct {
	m  *Mock
	rw io.ReadWriter
	r  *wire.Reader
	w  *wire.Writer
	// stray says that the input of a refused stream may follow.
	stray bool
}

// one answers one request.
func (s *mockConn) one() error {
	if _, err := s.r.NextStream(); err != nil {
		return err
	}
	meta, err := s.r.Announce()
	if s.stray && !meta.Has(wire.KeyMethod) {
		s.stray = false
		return s.r.Drain()
	}
	s.stray = false
	var b *wire.Batch
	if err == nil {
		b, err = s.r.Take(wire.Own)
	}
	var key string
	if err == nil {
		key, err = requestKey(b)
	}
	if drained := s.r.Drain(); drained != nil {
		return drained
	}
	if meta.Value(wire.KeyMethod) == wire.MethodTransport {
		return s.capabilities()
	}
	name := meta.Value(wire.KeyProtocol) + "/" + meta.Value(wire.KeyMethod)
	if err != nil {
		s.stray = true
		return s.refuse(notRecorded(fmt.Sprintf("a request of %s that cannot be read (%v)", name, err)))
	}
	call, ok := find(s.m, s.m.calls, key)
	if !ok {
		s.stray = true
		return s.refuse(notRecorded("the call of " + name + " with these parameters"))
	}
	return s.answer(call)
}

// capabilities says that this server has none.
func (s *mockConn) capabilities() error {
	b := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
		{Key: wire.KeyTransportSHM, Value: "false"}, {Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	})
	return errors.Join(s.w.Open(b.Schema), s.w.Batch(&b), s.w.Close(), s.w.Flush())
}

// refuse answers with a stream that is nothing but an error.
func (s *mockConn) refuse(why *wire.Status) error {
	_, err := s.rw.Write(errorStream(why))
	return err
}

// errorStream is a stream that is nothing but an error.
func errorStream(why *wire.Status) []byte {
	var out strings.Builder
	w := wire.NewWriter(&out)
	b := wire.EmptyBatch(wire.EmptySchema(), why.Metadata())
	if err := errors.Join(w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()); err != nil {
		return nil
	}
	return []byte(out.String())
}

// answer sends what the recorded server sent.
func (s *mockConn) answer(c *Call) error {
	if _, err := s.rw.Write(c.reply.before); err != nil || !c.Stream {
		return err
	}
	return s.turns(c)
}

// turns answers inputs as they come. One that is not the recorded one ends the
// stream with an error.
func (s *mockConn) turns(c *Call) error {
	t := c.reply.turns
	opened := len(t) > 0 && len(t[0]) > 0
	if opened {
		if _, err := s.rw.Write(t[0]); err != nil {
			return err
		}
	}
	if _, err := s.r.NextStream(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		b, err := s.r.Next()
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		if !ended && !c.input(i, b) {
			return s.breakOff(c, i, opened)
		}
		if i+1 < len(t) && len(t[i+1]) > 0 {
			opened = true
			if _, err := s.rw.Write(t[i+1]); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

// input reports whether b is what the recorded caller sent as input i.
func (c *Call) input(i int, b *wire.Batch) bool {
	if b.Meta.Has(wire.KeyCancel) {
		return c.Cancelled && i == len(c.Inputs)
	}
	if i >= len(c.Inputs) {
		return c.reply.over(i)
	}
	want, err1 := Canonical(c.Inputs[i])
	got, err2 := Canonical(b)
	return err1 == nil && err2 == nil && string(want) == string(got)
}

// over reports whether everything has been sent before the answer to input i: what
// the caller sends then is thrown away.
func (s *script) over(i int) bool {
	for _, t := range s.turns[min(i+1, len(s.turns)):] {
		if len(t) > 0 {
			return false
		}
	}
	return true
}

// breakOff ends an output stream with an error, and reads the rest of the input.
func (s *mockConn) breakOff(c *Call, i int, opened bool) error {
	stream := errorStream(notRecorded(fmt.Sprintf("input %d of %s/%s with these values", i+1, c.Protocol, c.Method)))
	if opened { // its schema has been sent
		stream = stream[len(wire.EmptySchema().Message()):]
	}
	if _, err := s.rw.Write(stream); err != nil {
		return err
	}
	return s.r.Drain()
}

// key is what makes two HTTP requests the same: method, path, and the body without
// the metadata of its batches but the token.
func (x *Exchange) key() string {
	return httpKey(x.Request.Meta.Value(MetaMethod), x.Path(), x.Sent)
}

func httpKey(method, path string, body []*Frame) string {
	parts := []string{method, path}
	streams, whole := streamsOf(body)
	if !whole || len(streams) == 0 {
		for _, f := range body {
			parts = append(parts, string(f.Bytes))
		}
		return keyOf(parts[0], parts[1], strings.Join(parts[2:], ""))
	}
	for _, s := range streams {
		batches, err := s.batches()
		if err != nil {
			return keyOf(parts[0], parts[1], string(s.bytes()))
		}
		for _, b := range batches {
			bytes, err := Canonical(b)
			if err != nil {
				bytes = s.bytes()
			}
			cancel := strconv.FormatBool(b.Meta.Has(wire.KeyCancel))
			parts = append(parts, string(bytes), b.Meta.Value(wire.KeyStreamState), cancel)
		}
	}
	return keyOf(parts...)
}

// maxMockBody bounds the body of a request to a Mock, in bytes.
const maxMockBody = maxUnpacked

// ServeHTTP answers a request of a recording of HTTP.
func (m *Mock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrowBody := strings.HasPrefix(r.Header.Get("Content-Type"), contentTypeArrow)
	body, err := bodyFrames(http.MaxBytesReader(w, r.Body, maxMockBody), arrowBody, r.Header.Get("Content-Encoding"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path := r.URL.EscapedPath()
	x, ok := find(m, m.routes, httpKey(r.Method, path, body))
	if !ok {
		refuseHTTP(w, r.Method+" "+path+" with this body", arrowBody)
		return
	}
	x.send(w)
}

func refuseHTTP(w http.ResponseWriter, what string, arrowBody bool) {
	why := notRecorded(what)
	if !arrowBody {
		http.Error(w, why.Message, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", contentTypeArrow)
	w.Header().Set("X-Vgi-Rpc-Error", "true")
	_, _ = w.Write(errorStream(why)) // who is gone needs no answer
}

// bodyFrames are the frames of a body that is read to its end.
func bodyFrames(r io.Reader, arrowBody bool, coding string) ([]*Frame, error) {
	var frames []*Frame
	split := splitter{
		bodies: true, raw: !arrowBody, take: func(int64) bool { return true }, release: func() {},
		emit: func(kind Kind, size int64, message []byte) {
			frames = append(frames, &Frame{From: Client, Kind: kind, Size: size, Bytes: message})
		},
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if arrowBody && (coding == "gzip" || coding == "zstd") {
		if _, err := unpack(&split, coding, body); err != nil {
			return nil, err
		}
		return frames, nil
	}
	split.write(body)
	split.end()
	return frames, nil
}

// send sends the recorded response.
func (x *Exchange) send(w http.ResponseWriter) {
	status, err := strconv.Atoi(x.Response.Meta.Value(MetaStatus))
	if err != nil || status < 200 || status > 599 {
		status = http.StatusInternalServerError
	}
	coded := false
	for _, p := range x.Response.Meta {
		switch strings.ToLower(p.Key) {
		case MetaStatus, "content-length", "transfer-encoding", "connection", "date", "set-cookie":
		case "content-encoding": // bodies are recorded without
			coded = true
		default:
			w.Header().Add(p.Key, p.Value)
		}
	}
	if coded && !strings.HasPrefix(w.Header().Get("Content-Type"), contentTypeArrow) {
		w.Header().Set("Content-Encoding", metaFold(x.Response.Meta, "Content-Encoding"))
	}
	w.WriteHeader(status)
	for _, f := range x.Got {
		if _, err := w.Write(f.Bytes); err != nil {
			return
		}
	}
}
