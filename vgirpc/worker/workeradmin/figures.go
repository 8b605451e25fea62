package workeradmin

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/observability/admin"
	"github.com/vgirpc/vgirpc-go/observability/prom"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// figures are those of the worker itself.
func figures(setup *worker.Setup) []prom.Figure {
	value := func(v func() float64) func(func(string, float64)) {
		return func(report func(string, float64)) { report("", v()) }
	}
	server := setup.Server()
	return []prom.Figure{
		{
			Name: "worker_state", Help: "1 for the state that the worker is in.", Label: "state",
			Read: func(report func(string, float64)) {
				now := setup.State()
				for s := worker.Starting; s <= worker.Draining; s++ {
					in := 0.0
					if s == now {
						in = 1
					}
					report(s.String(), in)
				}
			},
		},
		{
			Name: "connections_open", Help: "Connections over byte streams that are being served.",
			Read: value(func() float64 { return float64(server.ConnStats().Open) }),
		},
		{
			Name: "connections_total", Help: "Connections over byte streams that were served.", Counter: true,
			Read: value(func() float64 { return float64(server.ConnStats().Served) }),
		},
		{
			Name: "memory_bytes", Help: "Bytes of messages in memory, which the limit of bytes in flight bounds.",
			Read: value(func() float64 { return float64(server.Limits().Budget.Held()) }),
		},
		{
			Name: "access_log_dropped_total", Help: "Records of the access log that were lost.", Counter: true,
			Read: func(report func(string, float64)) {
				if log := setup.AccessLog(); log != nil {
					report("", float64(log.Dropped()))
				}
			},
		},
	}
}

// ready is why a worker is not sent calls in a state.
func ready(state worker.State) error {
	if state == worker.Serving {
		return nil
	}
	return fmt.Errorf("the worker is %s", state)
}

// checks are what a worker cannot do without; its state is asked for apart.
func checks(setup *worker.Setup) func(context.Context) []admin.Check {
	return func(ctx context.Context) []admin.Check {
		var out []admin.Check
		for _, r := range setup.CheckReady(ctx)[1:] {
			out = append(out, admin.Check(r))
		}
		return out
	}
}

// setting is a setting in JSON.
type setting struct {
	Name   string   `json:"name"`
	Values []string `json:"values,omitempty"`
	Source string   `json:"source"`
	Origin string   `json:"origin,omitempty"`
	Hidden bool     `json:"hidden,omitempty"`
}

// configuration is what the worker was set to, without secrets.
func configuration(setup *worker.Setup) any {
	all := []setting{}
	for _, s := range setup.Configuration() {
		all = append(all, setting{s.Name, s.Values, s.Source.String(), s.Origin, s.Hidden})
	}
	return map[string]any{"state": setup.State().String(), "settings": all}
}

// transfers counts what goes to external storage and comes from it.
type transfers struct{ uploads, fetches direction }

type direction struct{ ok, failed, bytes atomic.Int64 }

// TransferStarted does nothing and returns ctx.
func (*transfers) TransferStarted(ctx context.Context, _ *external.Transfer) context.Context {
	return ctx
}

// TransferEnded counts a transfer.
func (t *transfers) TransferEnded(_ context.Context, transfer *external.Transfer) {
	d, size := &t.uploads, transfer.StoredBytes
	if transfer.Fetch {
		d, size = &t.fetches, transfer.RawBytes
	}
	if transfer.Err != nil {
		d.failed.Add(1)
		return
	}
	d.ok.Add(1)
	d.bytes.Add(size)
}

// figures are what was counted.
func (t *transfers) figures() []prom.Figure {
	return []prom.Figure{
		{
			Name: "external_uploads_total", Help: "Batches that went to external storage.", Counter: true, Label: "result",
			Read: t.uploads.results,
		},
		{
			Name: "external_fetches_total", Help: "Batches that were fetched from external storage.", Counter: true, Label: "result",
			Read: t.fetches.results,
		},
		{
			Name: "external_uploaded_bytes_total", Help: "Bytes that went to external storage, as they are stored.", Counter: true,
			Read: func(report func(string, float64)) { report("", float64(t.uploads.bytes.Load())) },
		},
		{
			Name: "external_fetched_bytes_total", Help: "Bytes that were fetched from external storage, as they are decoded.", Counter: true,
			Read: func(report func(string, float64)) { report("", float64(t.fetches.bytes.Load())) },
		},
	}
}

func (d *direction) results(report func(string, float64)) {
	report("ok", float64(d.ok.Load()))
	report("failed", float64(d.failed.Load()))
}
