package external

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestWhatStaysInline(t *testing.T) {
	schema, data := numbers(t, nil)
	state := wire.EmptyBatch(schema, wire.Metadata{{Key: wire.KeyStreamState, Value: "dG9rZW4="}})
	pointer := *pointerTo(schema, "https://example.com/o", "")
	for _, tt := range []struct {
		name      string
		threshold int64
		cycle     []wire.Batch
	}{
		{"nothing at all", 1, nil},
		{"a batch below the threshold", data.Bytes() + 1, []wire.Batch{data}},
		{"logs alone", 1, []wire.Batch{logBatch(schema, "a")}},
		{"a zero-row batch of data", 1, []wire.Batch{wire.EmptyBatch(schema, nil)}},
		{"an error", 1, []wire.Batch{errorBatch(schema, "e")}},
		{"data before an error", 1, []wire.Batch{data, errorBatch(schema, "e")}},
		{"a state token", 1, []wire.Batch{state}},
		{"data before a state token of its own", 1, []wire.Batch{data, state}},
		{"a pointer", 1, []wire.Batch{pointer}},
		{"two batches of data, which no reader would take", 1, []wire.Batch{data, data}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			placed, uploaded, err := newOffload(t, Options{Store: s, Threshold: tt.threshold}).Place(t.Context(), schema, tt.cycle, -1)
			if err != nil || uploaded != 0 || len(placed) != len(tt.cycle) || len(s.objects) != 0 {
				t.Errorf("placed %d of %d batches, %d objects, %d bytes, %v", len(placed), len(tt.cycle), len(s.objects), uploaded, err)
			}
		})
	}
	t.Run("everything, without a store", func(t *testing.T) {
		placed, _, err := newOffload(t, Options{Threshold: 1}).Place(t.Context(), schema, []wire.Batch{data}, -1)
		if err != nil || len(placed) != 1 || placed[0].Rows != 3 {
			t.Errorf("got %v, %v", placed, err)
		}
	})
}

func TestABatchThatStaysCostsNothing(t *testing.T) {
	schema, data := numbers(t, nil)
	o := newOffload(t, Options{Store: newShelf(t)})
	cycle := []wire.Batch{logBatch(schema, "a"), data}
	allocs := testing.AllocsPerRun(100, func() {
		if placed, _, err := o.Place(t.Context(), schema, cycle, -1); err != nil || len(placed) != 2 {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestAWholeCycleLeavesAndAPointerStays(t *testing.T) {
	schema, data := numbers(t, wire.Metadata{{Key: wire.KeyStreamState, Value: "dG9rZW4="}, {Key: "app", Value: "x"}})
	cycle := []wire.Batch{logBatch(schema, "first"), data, logBatch(schema, "second")}
	raw := stream(t, schema, cycle...)
	sum := sha256.Sum256(raw)
	for _, compression := range []Compression{"", None, Zstd, Gzip} {
		t.Run("compression "+string(compression), func(t *testing.T) {
			s := newShelf(t)
			o := newOffload(t, Options{Store: s, Threshold: data.Bytes(), Compression: compression})
			placed, uploaded, err := o.Place(t.Context(), schema, cycle, -1)
			if err != nil || len(placed) != 1 {
				t.Fatalf("got %d batches, %v", len(placed), err)
			}
			stored := s.only(t)
			if uploaded != int64(len(stored.body)) {
				t.Errorf("uploaded %d bytes, stored %d", uploaded, len(stored.body))
			}
			want := wire.Metadata{
				{Key: wire.KeyLocation, Value: s.server.URL + "/o/0?sig=" + secret},
				{Key: wire.KeyLocationSHA256, Value: hex.EncodeToString(sum[:])},
			}
			if diff := cmp.Diff(want, placed[0].Meta); diff != "" {
				t.Errorf("the pointer's metadata (-want +got):\n%s", diff)
			}
			if p := placed[0]; p.Rows != 0 || p.Schema != schema || p.Kind() != wire.KindExternal {
				t.Errorf("the pointer has %d rows and is of kind %v", p.Rows, p.Kind())
			}
			encoding := strings.TrimPrefix(string(compression), string(None))
			if stored.encoding != encoding || (encoding == "") != bytes.Equal(raw, stored.body) {
				t.Errorf("%d bytes are stored with encoding %q", len(stored.body), stored.encoding)
			}
			// The way back, with logs.
			var logs []string
			b, release, err := o.Resolve(t.Context(), &placed[0], schema, func(m wire.Metadata) {
				logs = append(logs, m.Value(wire.KeyLogMessage))
			})
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if got := text(t, b); got != text(t, &data) {
				t.Errorf("got %s", got)
			}
			if diff := cmp.Diff([]string{"first", "second"}, logs); diff != "" {
				t.Errorf("logs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAZstdObjectNamesItsSize(t *testing.T) {
	schema, data := numbers(t, nil)
	s := newShelf(t)
	if _, _, err := newOffload(t, Options{Store: s, Threshold: 1, Compression: Zstd}).Place(t.Context(), schema, []wire.Batch{data}, -1); err != nil {
		t.Fatal(err)
	}
	var h zstd.Header
	if err := h.Decode(s.only(t).body); err != nil || h.FrameContentSize != uint64(len(stream(t, schema, data))) {
		t.Errorf("frame header %+v, %v", h, err)
	}
}

// stuck is a store that takes nothing and says nothing.
type stuck struct{}

func (stuck) Upload(ctx context.Context, _ []byte, _ string) (string, error) {
	<-ctx.Done()
	return "", fmt.Errorf("PUT https://example.com/o?sig=%s: %w", secret, ctx.Err())
}

func TestAStoreThatIsStuckDoesNotHoldACall(t *testing.T) {
	schema, data := numbers(t, nil)
	for _, tt := range []struct {
		name     string
		opts     Options
		patience time.Duration // of the caller; 0 is without end
		took     time.Duration
		code     vgirpc.Code
		want     string
	}{
		{"its own time ends the upload", Options{}, 0, DefaultUploadTimeout, vgirpc.Unavailable, "UploadTimeout is 3m0s"},
		{"as it was set", Options{UploadTimeout: 10 * time.Second}, time.Minute, 10 * time.Second, vgirpc.Unavailable, "UploadTimeout is 10s"},
		{"the call's end ends it", Options{}, 5 * time.Second, 5 * time.Second, vgirpc.DeadlineExceeded, "upload of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Store, tt.opts.Threshold = stuck{}, 1
			inBubble(t, tt.opts, nil, func(t *testing.T, o *Offload) {
				ctx := t.Context()
				if tt.patience > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.patience)
					defer cancel()
				}
				begun := time.Now()
				_, _, err := o.Place(ctx, schema, []wire.Batch{data}, -1)
				wantError(t, err, tt.code, tt.want)
				if took := time.Since(begun); took != tt.took {
					t.Errorf("it took %v", took)
				}
				if got := asVGI(t, err).Type; got != typeLocation {
					t.Errorf("type %s", got)
				}
			})
		})
	}
}

func TestABudgetIsCheckedBeforeTheUpload(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("x", 5000)+`"]`, nil)
	cycle := []wire.Batch{logBatch(schema, strings.Repeat("l", 5000)), data}
	whole := int64(len(stream(t, schema, cycle...)))
	for _, tt := range []struct {
		name    string
		budget  int64
		refused bool
	}{
		{"none", -1, false},
		{"nothing left", 0, true},
		{"less than the data", data.Bytes() - 1, true},
		{"enough for the data, not for its logs and framing", data.Bytes(), true},
		{"one byte short", whole - 1, true},
		{"exactly enough", whole, false},
	} {
		// However well it compresses.
		for _, compression := range []Compression{None, Zstd} {
			t.Run(tt.name+", "+string(compression), func(t *testing.T) {
				s := newShelf(t)
				o := newOffload(t, Options{Store: s, Threshold: 1, Compression: compression})
				placed, uploaded, err := o.Place(t.Context(), schema, cycle, tt.budget)
				if !tt.refused {
					if err != nil || len(placed) != 1 || uploaded == 0 {
						t.Errorf("got %d batches, %d bytes, %v", len(placed), uploaded, err)
					}
					return
				}
				wantError(t, err, vgirpc.ResourceExhausted, "max_externalized_response_bytes (")
				if e := asVGI(t, err); e.Type != "ResponseTooLargeError" || e.Retryable() {
					t.Errorf("type %q, retryable %v", e.Type, e.Retryable())
				}
				if len(s.objects) != 0 || uploaded != 0 || placed != nil {
					t.Errorf("%d objects were stored, %d bytes", len(s.objects), uploaded)
				}
			})
		}
	}
}

func TestAFailedUploadShowsNoSecrets(t *testing.T) {
	schema, data := numbers(t, nil)
	signed := "https://user:" + secret + "@bucket.example.com/o?sig=" + secret + "'\"" + secret + "#" + secret
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"an error of net/http", &url.Error{Op: "Put", URL: signed, Err: errors.New("refused")}, "Put https://bucket.example.com/o: refused"},
		{"one that was wrapped", errors.Join(errors.New("x"), &url.Error{Op: "Put", URL: signed, Err: errors.New("refused")}), "refused"},
		{"text with a URL in it", errors.New("cannot put to " + signed + " now"), "https://bucket.example.com/o now"},
		{"text with a broken URL in it", errors.New("cannot put to https://host:bad/?" + secret), "<invalid-url>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.failure = tt.err
			_, _, err := newOffload(t, Options{Store: s, Threshold: 1}).Place(t.Context(), schema, []wire.Batch{data}, -1)
			wantError(t, err, vgirpc.Unavailable, tt.want)
		})
	}
}

func TestAPublishedResultIsAReference(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["hi"]`, wire.Metadata{{Key: "call", Value: "1"}})
	plain := data
	plain.Meta = nil
	sum := sha256.Sum256(stream(t, schema, plain))
	for _, tt := range []struct {
		name    string
		include bool
		digest  string
	}{{"with a digest", true, hex.EncodeToString(sum[:])}, {"without one", false, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			o := newOffload(t, Options{Store: s, Compression: Gzip}) // and the threshold is 1 MiB
			ref, err := o.Publish(t.Context(), schema, &data, tt.include)
			if err != nil || ref.Validate() != nil {
				t.Fatal(err, ref.Validate())
			}
			if ref.SHA256 != tt.digest {
				t.Errorf("digest %q, want %q", ref.SHA256, tt.digest)
			}
			pointer := ref.Pointer(schema)
			b, release, err := o.Resolve(t.Context(), &pointer, schema, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if got := text(t, b); got != text(t, &data) || b.Meta.Has("call") {
				t.Errorf("got %s with %v", got, b.Meta)
			}
		})
	}
}

func TestWhatIsNotPublished(t *testing.T) {
	schema, rows := numbers(t, nil)
	if _, err := newOffload(t, Options{Store: newShelf(t)}).Publish(t.Context(), schema, &rows, true); err == nil {
		t.Error("three rows were published as one result")
	}
	schema, row := column(t, arrow.PrimitiveTypes.Int64, `[1]`, nil)
	if _, err := newOffload(t, Options{}).Publish(t.Context(), schema, &row, true); !errors.Is(err, errNoStore) {
		t.Errorf("got %v", err)
	}
}

func TestReferencesAreValidated(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ref   vgirpc.ExternalRef
		valid bool
	}{
		{"a location alone", vgirpc.ExternalRef{Location: "https://h/o"}, true},
		{"a location and a digest", vgirpc.ExternalRef{Location: "https://h/o", SHA256: strings.Repeat("0a", 32)}, true},
		{"no location", vgirpc.ExternalRef{SHA256: strings.Repeat("0a", 32)}, false},
		{"a short digest", vgirpc.ExternalRef{Location: "https://h/o", SHA256: "0a"}, false},
		{"a digest in capitals", vgirpc.ExternalRef{Location: "https://h/o", SHA256: strings.Repeat("0A", 32)}, false},
		{"a digest that is none", vgirpc.ExternalRef{Location: "https://h/o", SHA256: "0" + strings.Repeat("x", 62) + "0"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.ref.Validate(); (err == nil) != tt.valid {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"a negative threshold", Options{Threshold: -1}, "Threshold"},
		{"a negative limit", Options{MaxFetchBytes: -1}, "MaxFetchBytes"},
		{"a limit beyond counting", Options{MaxDecodedBytes: 1 << 62}, "MaxDecodedBytes"},
		{"a negative time for uploads", Options{UploadTimeout: -1}, "UploadTimeout"},
		{"more attempts than allowed", Options{Attempts: 4}, "Attempts"},
		{"negative attempts", Options{Attempts: -1}, "Attempts"},
		{"an unknown compression", Options{Compression: "br"}, "Compression"},
		{"an origin without scheme", Options{AllowedOrigins: []string{"example.com"}}, `"example.com"`},
		{"an origin with a path", Options{AllowedOrigins: []string{"https://example.com/"}}, "nothing else"},
		{"an origin with a user", Options{AllowedOrigins: []string{"https://u@example.com"}}, "nothing else"},
		{"a file", Options{AllowedOrigins: []string{"file://host"}}, "https or http"},
		{"plain http everywhere", Options{AllowedOrigins: []string{"http://*"}}, "by name"},
		{"a star inside a name", Options{AllowedOrigins: []string{"https://a.*.com"}}, "leading labels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := New(Options{MaxFetchBytes: 1 << 60}); err != nil {
		t.Errorf("the largest limit: %v", err)
	}
}
