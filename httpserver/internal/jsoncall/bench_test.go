package jsoncall_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// BenchmarkCalls reads the parameters of a call and writes its answer: values
// of most kinds, and a small call.
func BenchmarkCalls(b *testing.B) {
	type mixed struct {
		Flag   bool             `vgi:"flag"`
		N      int64            `vgi:"n"`
		Real   float64          `vgi:"real"`
		Text   string           `vgi:"text"`
		Data   []byte           `vgi:"data"`
		At     time.Time        `vgi:"at"`
		Wait   time.Duration    `vgi:"wait"`
		Price  vgirpc.Decimal   `vgi:"price,type=decimal128(20,4)"`
		Matrix [][]int64        `vgi:"matrix"`
		Counts map[string]int64 `vgi:"counts"`
		Points []point          `vgi:"points"`
	}
	const body = `{"flag":true,"n":"9223372036854775807","real":0.5,"text":"a \"b\"","data":"AP8=",` +
		`"at":"2026-11-21T13:45:00.5Z","wait":"90.5s","price":"12.5","matrix":[[1],[]],"counts":{"a":1,"b":2},` +
		`"points":[{"x":1,"label":null},{"x":2,"label":"c"}]}`
	p := vgirpc.NewProtocol("test.Bench", "")
	most := newEcho(b, vgirpc.NewUnary[mixed, mixed](p, "most"), func(_ context.Context, p mixed) (mixed, error) { return p, nil })
	small := newEcho(b, vgirpc.NewUnary[one[int64], int64](vgirpc.NewProtocol("test.Small", ""), "small"),
		func(_ context.Context, p one[int64]) (int64, error) { return p.Value, nil })
	for _, bench := range []struct {
		name string
		echo *echo
		body string
	}{{"values of most kinds", most, body}, {"one integer", small, `{"value":5}`}} {
		b.Run(bench.name+" are read", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.echo.codec.Params(strings.NewReader(bench.body), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+" are written", func(b *testing.B) {
			batch := bench.echo.reply(b, bench.body)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.echo.codec.Result(batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// reply is the result batch of a call.
func (e *echo) reply(tb testing.TB, body string) *wire.Batch {
	tb.Helper()
	params, err := e.codec.Params(strings.NewReader(body), 0)
	if err != nil {
		tb.Fatal(err)
	}
	params.Meta = e.method.RequestMetadata()
	var reply vgirpc.Reply
	d := e.server.Begin(tb.Context(), e.server.Route(params.Meta), &vgirpc.Request{Meta: params.Meta, Batch: params}, &reply)
	defer d.End(vgirpc.Delivery{})
	if err := d.Err(); err != nil {
		tb.Fatal(err)
	}
	return &reply.Batches[0]
}
