package conformance_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// answer is a response as it arrived, less what differs from one to the next.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// poster posts single requests of streams, as a client does that has nothing but
// a stream's tokens.
type poster struct {
	pool      http.RoundTripper
	principal string // "" is nobody
}

// post sends a batch to a method's route.
func (p poster) post(t *testing.T, to *replica, m *vgirpc.Method, route string, in *wire.Batch) answer {
	t.Helper()
	var body bytes.Buffer
	w := wire.NewWriter(&body)
	if err := errors.Join(w.Open(in.Schema), w.Batch(in), w.Close(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	url := "http://" + to.host + "/" + m.Protocol().Name() + "/" + m.Name() + "/" + route
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.apache.arrow.stream")
	req.Header.Set("X-Request-ID", requestID)
	if p.principal != "" {
		req.Header.Set("X-Conformance-Principal", p.principal)
	}
	resp, err := p.pool.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{Status: resp.StatusCode, Header: maps.Clone(resp.Header)}
	a.Header.Del("Date")
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

// last is the metadata of the last batch of an answer, which has the tokens, and
// its row, if it has one.
func (a answer) last(t *testing.T) (meta wire.Metadata, row conformance.SumRow) {
	t.Helper()
	r := wire.NewReader(bytes.NewReader(a.Body), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatalf("status %d: %v", a.Status, err)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return meta, row
		}
		if err != nil {
			t.Fatal(err)
		}
		meta, row = slices.Clone(b.Meta), conformance.SumRow{}
		if b.Rows == 1 && len(b.Cols) == 2 {
			row.RunningSum = wire.Values[float64](&b.Cols[0])[0]
			row.ExchangeCount = wire.Values[int64](&b.Cols[1])[0]
		}
	}
}

// open opens exchange_accumulate and returns its tokens.
func (p poster) open(t *testing.T, at *replica) wire.Metadata {
	t.Helper()
	m := conformance.ExchangeAccumulate.Method
	a := p.post(t, at, m, "init", &wire.Batch{Schema: wire.EmptySchema(), Rows: 1, Meta: m.RequestMetadata()})
	tokens, _ := a.last(t)
	if a.Status != http.StatusOK || !tokens.Has(wire.KeyStreamState) || !tokens.Has(wire.KeyCallState) {
		t.Fatalf("status %d, metadata %v", a.Status, tokens)
	}
	return tokens
}

// add sends one number to an open exchange_accumulate.
func (p poster) add(t *testing.T, at *replica, tokens wire.Metadata, value float64) answer {
	t.Helper()
	in := floats(value)
	in.Meta = tokens
	return p.post(t, at, conformance.ExchangeAccumulate.Method, "exchange", in)
}

// added takes a stream one number further, which has to go well, and returns its
// tokens for the next turn.
func (p poster) added(t *testing.T, at *replica, tokens wire.Metadata, value, sum float64, count int64) wire.Metadata {
	t.Helper()
	a := p.add(t, at, tokens, value)
	meta, got := a.last(t)
	if a.Status != http.StatusOK {
		t.Fatalf("%s: status %d, metadata %v", at.id, a.Status, meta)
	}
	if diff := cmp.Diff(conformance.SumRow{RunningSum: sum, ExchangeCount: count}, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", at.id, diff)
	}
	return tokens.With(wire.KeyStreamState, meta.Value(wire.KeyStreamState))
}

// checkRefusal checks that an answer is what every token gets that is not
// honoured.
func checkRefusal(t *testing.T, a answer) {
	t.Helper()
	meta, _ := a.last(t)
	s := wire.ParseStatus(meta)
	got := []string{http.StatusText(a.Status), s.Type, s.Code, s.Kind, s.Message}
	want := []string{
		"Bad Request", "StateTokenError", "INVALID_ARGUMENT", "",
		"the stream's state token is not valid here, or no longer: open the stream again",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(s.Details) > 0 {
		t.Errorf("details %s, refusal (-want +got):\n%s", s.Details, diff)
	}
}

func TestReplicasRotateTheirKeysOneAfterTheOther(t *testing.T) {
	p := poster{pool: newPool(t)}
	one := startReplica(t, "one", nil, "--token-key", keyOne)
	two := startReplica(t, "two", nil, "--token-key", keyTwo, "--token-key", keyOne)
	defer two.stop(t, syscall.SIGTERM)

	old := p.open(t, one)
	old = p.added(t, one, old, 1, 1, 1)
	old = p.added(t, two, old, 2, 3, 2) // opened with the old key, sealed with the new one
	young := p.open(t, two)
	for _, tokens := range []wire.Metadata{old, young} {
		checkRefusal(t, p.add(t, one, tokens, 4))
	}
	old = p.added(t, two, old, 4, 7, 3) // the refusal changed nothing

	// The first replica gets the new key, too.
	one.stop(t, syscall.SIGTERM)
	one = startReplica(t, "one", nil, "--token-key", keyTwo+","+keyOne)
	defer one.stop(t, syscall.SIGTERM)
	old = p.added(t, one, old, 8, 15, 4)
	p.added(t, two, old, 16, 31, 5)
	young = p.added(t, one, young, 1, 1, 1)
	young = p.added(t, two, young, 2, 3, 2)

	// The old key is taken away where it was first.
	last := startReplica(t, "last", nil, "--token-key", keyTwo)
	defer last.stop(t, syscall.SIGTERM)
	checkRefusal(t, p.add(t, last, old, 16)) // its call token is of the old key
	p.added(t, last, young, 4, 7, 3)
}

func TestAStreamOutlivesTheProcessesThatServeIt(t *testing.T) {
	env := []string{conformance.ProbeFileVariable + "=" + filepath.Join(t.TempDir(), "probe")}
	begin := func() *replica { return startReplica(t, "mortal", env, "--token-key", keyOne) }
	only := &place{replica: begin()}
	kill := func(p *place) {
		if err := p.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = p.Wait() // it was killed
	}
	defer func() { kill(only) }()
	for _, p := range programs() {
		switch p.method {
		default:
			continue
		case conformance.ProduceDynamicSchema.Method, conformance.ExchangeAccumulate.Method, conformance.CancellableExchange.Method:
		}
		t.Run(p.method.Name()+": "+p.name, func(t *testing.T) {
			deaths := 0
			got := overHTTP(t, &rotation{pool: newPool(t), places: []*place{only}, before: func(p *place) {
				kill(p)
				deaths++
				p.replica = begin()
			}}, p)
			if diff := cmp.Diff(overAPipe(t, p), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if deaths != p.turns {
				t.Errorf("%d deaths between %d turns", deaths, p.turns)
			}
		})
	}
}

// flipped is a token with one bit changed, at so many parts of eight of its
// length.
func flipped(eighths int) func(string) string {
	return func(s string) string {
		b := []byte(s)
		b[(len(b)-1)*eighths/8] ^= 1
		return string(b)
	}
}

func TestATokenThatIsNotHonouredIsRefusedAlikeByEveryReplica(t *testing.T) {
	args := []string{"--token-key", keyOne, "--sticky-auth"}
	one := startReplica(t, "same", nil, args...)
	defer one.stop(t, syscall.SIGTERM)
	two := startReplica(t, "same", nil, args...)
	defer two.stop(t, syscall.SIGTERM)
	stranger := startReplica(t, "same", nil, "--token-key", keyTwo, "--sticky-auth")
	defer stranger.stop(t, syscall.SIGTERM)
	pool := newPool(t)

	ada, eve, nobody := poster{pool, "ada"}, poster{pool, "eve"}, poster{pool: pool}
	accumulate, scale := conformance.ExchangeAccumulate.Method, conformance.ExchangeScale.Method
	mine := ada.added(t, two, ada.open(t, one), 1, 1, 1) // both have sealed one of the tokens
	other, foreign, eves := ada.open(t, one), ada.open(t, stranger), eve.open(t, one)
	changed := func(key string, change func(string) string) wire.Metadata {
		return mine.With(key, change(mine.Value(key)))
	}
	replaced := func(key, value string) wire.Metadata {
		return changed(key, func(string) string { return value })
	}
	const cursor, call = wire.KeyStreamState, wire.KeyCallState
	cut := func(s string) string { return s[:len(s)-4] }
	cases := []struct {
		name   string
		by     poster
		method *vgirpc.Method
		tokens wire.Metadata
	}{
		{"a cursor changed at its start", ada, accumulate, changed(cursor, flipped(0))},
		{"a cursor changed in its middle", ada, accumulate, changed(cursor, flipped(4))},
		{"a cursor changed near its end", ada, accumulate, changed(cursor, flipped(7))},
		{"a cursor that was cut", ada, accumulate, changed(cursor, cut)},
		{"a cursor of another stream", ada, accumulate, replaced(cursor, other.Value(cursor))},
		{"a cursor of another key", ada, accumulate, replaced(cursor, foreign.Value(cursor))},
		{"a call token in its place", ada, accumulate, replaced(cursor, mine.Value(call))},
		{"an empty cursor", ada, accumulate, replaced(cursor, "")},
		{"a call token changed at its start", ada, accumulate, changed(call, flipped(0))},
		{"a call token changed in its middle", ada, accumulate, changed(call, flipped(4))},
		{"a call token that was cut", ada, accumulate, changed(call, cut)},
		{"a call token of another stream", ada, accumulate, replaced(call, other.Value(call))},
		{"a call token of another key", ada, accumulate, replaced(call, foreign.Value(call))},
		{"a cursor in its place", ada, accumulate, replaced(call, mine.Value(cursor))},
		{"no call token", ada, accumulate, mine.Without(func(key string) bool { return key == call })},
		{"both tokens of another key", ada, accumulate, foreign},
		{"another method", ada, scale, mine},
		{"another caller", eve, accumulate, mine},
		{"nobody", nobody, accumulate, mine},
		{"tokens of another caller", ada, accumulate, eves},
	}
	want := ada.add(t, two, changed(cursor, flipped(4)), 2)
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []*replica{two, one} {
				in := floats(2)
				in.Meta = tt.tokens
				got := tt.by.post(t, at, tt.method, "exchange", in)
				checkRefusal(t, got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("not the answer to others (-others +this):\n%s", diff)
				}
			}
		})
	}
	// The tokens were good all along, for whom they were made.
	mine = ada.added(t, one, mine, 2, 3, 2)
	ada.added(t, two, mine, 4, 7, 3)
	eve.added(t, two, eves, 5, 5, 1)
	ada.added(t, stranger, foreign, 5, 5, 1)
}
