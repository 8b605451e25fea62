package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

func TestBenchCountsWhatItCalls(t *testing.T) {
	type side struct {
		Calls     int64            `json:"calls"`
		Min       time.Duration    `json:"min_ns"`
		P50       time.Duration    `json:"p50_ns"`
		Max       time.Duration    `json:"max_ns"`
		PerSecond float64          `json:"calls_per_second"`
		Errors    map[string]int64 `json:"errors"`
		Histogram []struct {
			Count int64 `json:"count"`
		} `json:"histogram"`
	}
	for name, url := range map[string]string{"stdio": stdio(), "unix": serve(t, "--unix", socket(t)), "http": serve(t, "--http", "0")} {
		for _, tt := range []struct {
			name  string
			args  []string
			calls int64
		}{
			{"unary calls", []string{"add_floats", "a=1", "b=2", "-n", "50", "-c", "2"}, 50},
			{"streams", []string{"produce_n", "count=3", "-n", "10"}, 10},
		} {
			t.Run(tt.name+" over "+name, func(t *testing.T) {
				got := vgi(t, append([]string{"bench", url, "--json"}, tt.args...)...)
				var report struct {
					Measured side `json:"measured"`
					Floor    side `json:"floor"`
				}
				if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.status != 0 {
					t.Fatalf("%v: %+v", err, got)
				}
				for side, s := range map[string]side{"measured": report.Measured, "floor": report.Floor} {
					var sum int64
					for _, bar := range s.Histogram {
						sum += bar.Count
					}
					if s.Calls != tt.calls || sum != tt.calls || s.Min <= 0 || s.P50 < s.Min || s.Max < s.P50 || s.PerSecond <= 0 || len(s.Errors) > 0 {
						t.Errorf("%s: %+v", side, s)
					}
				}
			})
		}
	}
}

func TestBenchEndsByTime(t *testing.T) {
	got := vgi(t, "bench", serve(t, "--unix", socket(t)), "void_noop", "-z", "50ms", "--no-floor")
	if got.status != 0 || strings.Contains(got.out, "floor") || !strings.Contains(got.out, "p99.9") {
		t.Errorf("got %+v", got)
	}
}

func TestBenchTellsOfErrorsByCode(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	got := vgi(t, "bench", url, "fail", "code=NOT_FOUND", "kind=", "retry_delay_seconds=0", "-n", "7")
	if got.status != 69 || !strings.Contains(got.out, "errors: 7 NOT_FOUND: ") || !strings.Contains(got.errors, "error: NOT_FOUND: 7 of 7 calls failed, the first one with NOT_FOUND: ") {
		t.Errorf("got %+v", got)
	}
}

func TestBenchWritesATable(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	got := vgi(t, "bench", url, "add_floats", "a=1", "b=2", "-n", "20")
	text := regexp.MustCompile(`[0-9.]+(µs|ms|ns|s)?`).ReplaceAllString(got.out, "N")
	var first []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "<=") {
			first = append(first, strings.Join(fields, " "))
		}
	}
	want := []string{
		"ConformanceService/add_floats, connections: N, floor: __transport_options__", "calls floor ratio", "calls N N N", "calls/s N N N", "min N N N",
		"mean N N N", "pN N N N", "pN N N N", "pN N N N", "pN N N N", "max N N N",
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("%s (-want +got):\n%s", got.out, diff)
	}
}

func TestTheFloorOfAServerWithoutTransportOptionsIsItsHealth(t *testing.T) {
	worker := serve(t, "--http", "0")
	s := gateway(t, worker, func(http.Header) {})
	through := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, wire.MethodTransport) {
			http.NotFound(w, r)
			return
		}
		through.ServeHTTP(w, r)
	})
	s.Start()
	defer s.Close()
	got := vgi(t, "bench", s.URL, "add_floats", "a=1", "b=2", "-n", "5")
	if got.status != 0 || !strings.Contains(got.out, ", floor: HEAD health\n") || strings.Contains(got.out, "errors") {
		t.Errorf("got %+v", got)
	}
}
