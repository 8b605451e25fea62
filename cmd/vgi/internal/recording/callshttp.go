package recording

import (
	"strings"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Exchange is one HTTP request of a recording with its response.
type Exchange struct {
	Conn              int64
	Request, Response *Frame // heads; Response is nil when none came
	// Sent and Got are the frames of the bodies.
	Sent, Got []*Frame
	// Lost says that some of it is not in the file.
	Lost bool
}

// Exchanges are the HTTP requests of a recording, in their order.
func Exchanges(frames []Frame) []*Exchange {
	byConn := map[int64]*Exchange{}
	var all []*Exchange
	for i := range frames {
		f := &frames[i]
		x := byConn[f.Conn]
		switch {
		case f.Kind == KindRequest:
			x = &Exchange{Conn: f.Conn, Request: f}
			byConn[f.Conn] = x
			all = append(all, x)
		case x == nil:
		case f.Kind == KindResponse:
			x.Response = f
		case f.Kind == KindDropped, f.Kind == KindError:
			x.Lost = true
		case f.From == Client:
			x.Sent = append(x.Sent, f)
		case f.From == Server:
			x.Got = append(x.Got, f)
		}
	}
	return all
}

// Path is the request's path, without its query.
func (x *Exchange) Path() string {
	path, _, _ := strings.Cut(x.Request.Meta.Value(MetaPath), "?")
	return path
}

// Routes of a stream's requests, behind the method.
const (
	routeInit     = "/init"
	routeExchange = "/exchange"
)

// httpCalls puts the requests of calls together.
func httpCalls(frames []Frame) []*Call {
	var calls []*Call
	byToken := map[string]*Call{}
	for _, x := range Exchanges(frames) {
		if x.Request.Meta.Value(MetaMethod) != "POST" || metaFold(x.Request.Meta, "Content-Type") != contentTypeArrow {
			continue
		}
		path := x.Path()
		if strings.HasSuffix(path, routeExchange) {
			x.goOn(byToken)
			continue
		}
		if call := x.begin(strings.HasSuffix(path, routeInit), byToken); call != nil {
			calls = append(calls, call)
		}
	}
	for _, c := range calls {
		if c.Stream && c.Ticks {
			c.makeTicks()
		}
		c.check()
	}
	return calls
}

// begin makes a call of its first request; nil for requests that are none.
func (x *Exchange) begin(isStream bool, byToken map[string]*Call) *Call {
	c := &Call{Conn: x.Conn, At: x.Request.At, Stream: isStream}
	sent, whole := streamsOf(x.Sent)
	if !whole || len(sent) != 1 {
		c.gap("its request is not in the recording as a whole", nil)
		return c
	}
	request, err := sent[0].batches()
	if err != nil || len(request) != 1 {
		c.gap("its request is no single batch", err)
		return c
	}
	c.Request = request[0]
	c.Protocol, c.Method = c.Request.Meta.Value(wire.KeyProtocol), c.Request.Meta.Value(wire.KeyMethod)
	if strings.HasPrefix(c.Method, "__") {
		return nil
	}
	got := x.answers(c)
	if got == nil {
		return c
	}
	if isStream && len(got) > 1 {
		c.HasHeader = true
		if c.Header, err = got[0].batches(); err != nil {
			c.gap("its header cannot be read", err)
		}
		got = got[1:]
	}
	data, goesOn := c.add(got, byToken)
	c.Ticks = isStream && (data || !goesOn)
	return c
}

// answers are the streams of the response.
func (x *Exchange) answers(c *Call) []*stream {
	if x.Response == nil || x.Lost {
		c.gap("its answer is not in the recording as a whole", nil)
		return nil
	}
	got, whole := streamsOf(x.Got)
	if !whole || len(got) == 0 {
		c.gap("it was answered with HTTP status "+x.Response.Meta.Value(MetaStatus)+" and no Arrow stream", nil)
		return nil
	}
	return got
}

// add appends the batches of a response, and reports whether there were data, and
// a token with which the stream goes on.
func (c *Call) add(got []*stream, byToken map[string]*Call) (data, goesOn bool) {
	for _, s := range got {
		batches, err := s.batches()
		if err != nil {
			c.gap("its answer cannot be read", err)
			return data, goesOn
		}
		for _, b := range batches {
			if token := b.Meta.Value(wire.KeyStreamState); token != "" {
				byToken[token], goesOn = c, true
			}
			if b.Kind() != wire.KindState {
				c.Answers = append(c.Answers, b)
				data = data || b.Kind() == wire.KindData
			}
		}
	}
	return data, goesOn
}

// goOn adds a continuation to the call that its token belongs to.
func (x *Exchange) goOn(byToken map[string]*Call) {
	sent, whole := streamsOf(x.Sent)
	if len(sent) == 0 {
		return
	}
	c := byToken[sent[0].first().Value(wire.KeyStreamState)]
	if c == nil {
		return // the stream began before the recording
	}
	inputs, err := sent[0].batches()
	if err != nil || !whole || len(inputs) != 1 {
		c.gap("an input of it is no single batch", err)
		return
	}
	if inputs[0].Meta.Has(wire.KeyCancel) {
		c.Cancelled = true
		return
	}
	c.Inputs = append(c.Inputs, inputs[0])
	if got := x.answers(c); got != nil {
		c.add(got, byToken)
	}
}

// makeTicks makes the inputs of a producer, whose first turn has none over HTTP:
// one for each answer, and one for the end.
func (c *Call) makeTicks() {
	c.Inputs = nil
	for _, b := range c.Answers {
		if b.Kind() == wire.KindData {
			c.tick()
		}
	}
	if !c.Cancelled {
		c.tick()
	}
}

func (c *Call) tick() {
	b := wire.EmptyBatch(wire.EmptySchema(), nil)
	c.Inputs = append(c.Inputs, &b)
}
