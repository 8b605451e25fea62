package workerhttp

import (
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// measure adds the figures of a handler, and of gates in front of it, to those of
// the worker.
func measure(setup *worker.Setup, h *httpserver.Handler, gates []*proof.Gate) {
	one := func(value func(httpserver.Stats) float64) func(func(string, float64)) {
		return func(report func(string, float64)) { report("", value(h.Stats())) }
	}
	setup.Measure(
		worker.Measure{
			Name: "http_in_flight", Help: "Calls and turns of streams that are being answered over HTTP.",
			Read: one(func(s httpserver.Stats) float64 { return float64(s.InFlight) }),
		},
		worker.Measure{
			Name: "http_sessions", Help: "Sticky sessions that are open.",
			Read: one(func(s httpserver.Stats) float64 { return float64(s.Sessions) }),
		},
		worker.Measure{
			Name: "http_received_bytes_total", Help: "Bytes of requests as they travelled, refused ones included.", Counter: true,
			Read: one(func(s httpserver.Stats) float64 { return float64(s.ReceivedBytes) }),
		},
		worker.Measure{
			Name: "http_sent_bytes_total", Help: "Bytes of answers to calls as they travelled.", Counter: true,
			Read: one(func(s httpserver.Stats) float64 { return float64(s.SentBytes) }),
		},
		worker.Measure{
			Name: "http_call_cache_total", Help: "Turns of streams whose call was remembered (hit), or had to be opened from its token (miss).",
			Counter: true, Label: "result",
			Read: func(report func(string, float64)) {
				s := h.Stats()
				report("hit", float64(s.CallCacheHits))
				report("miss", float64(s.CallCacheMisses))
			},
		},
	)
	if len(gates) > 0 {
		measureProofs(setup, gates)
	}
}

// measureProofs adds the figures of the gates, together.
func measureProofs(setup *worker.Setup, gates []*proof.Gate) {
	total := func() (all proof.Stats) {
		all.Outcomes = map[proof.Outcome]uint64{}
		for _, g := range gates {
			s := g.Stats()
			all.Remembered += s.Remembered
			all.Evicted += s.Evicted
			for outcome, n := range s.Outcomes {
				all.Outcomes[outcome] += n
			}
		}
		return all
	}
	setup.Measure(
		worker.Measure{
			Name: "proofs_total", Help: "Proofs of proxies that were looked at.", Counter: true, Label: "outcome",
			Read: func(report func(string, float64)) {
				for outcome, n := range total().Outcomes {
					report(string(outcome), float64(n))
				}
			},
		},
		worker.Measure{
			Name: "proof_nonces", Help: "Nonces of proofs that are remembered.",
			Read: func(report func(string, float64)) { report("", float64(total().Remembered)) },
		},
		worker.Measure{
			Name: "proof_nonces_evicted_total", Help: "Nonces that were forgotten early, whose proofs could be used again.", Counter: true,
			Read: func(report func(string, float64)) { report("", float64(total().Evicted)) },
		},
	)
}
