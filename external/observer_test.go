package external

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vgirpc/vgirpc-go/wire"
)

// notes is an observer that writes down what it sees.
type notes struct {
	name string
	log  *[]string
	seen []Transfer
}

type noteKey struct{}

// TransferStarted notes a beginning.
func (n *notes) TransferStarted(ctx context.Context, _ *Transfer) context.Context {
	before, _ := ctx.Value(noteKey{}).(string)
	*n.log = append(*n.log, fmt.Sprintf("%s starts behind %q", n.name, before))
	return context.WithValue(ctx, noteKey{}, before+n.name)
}

// TransferEnded notes an end.
func (n *notes) TransferEnded(ctx context.Context, t *Transfer) {
	*n.log = append(*n.log, fmt.Sprintf("%s ends in %q", n.name, ctx.Value(noteKey{})))
	n.seen = append(n.seen, *t)
}

// contextStore stores nothing, and says in which context it was asked to.
type contextStore struct {
	log *[]string
	do  func() (string, error)
}

// Upload notes its context.
func (s contextStore) Upload(ctx context.Context, _ []byte, _ string) (string, error) {
	*s.log = append(*s.log, fmt.Sprintf("upload in %q", ctx.Value(noteKey{})))
	return s.do()
}

func TestObserversSeeEveryTransferAndItsEnd(t *testing.T) {
	ignore := cmpopts.IgnoreFields(Transfer{}, "Duration", "Err", "RawBytes", "StoredBytes")
	for _, tt := range []struct {
		name     string
		do       func() (string, error)
		url      string
		fails    bool
		panicked bool
	}{
		{"an upload that succeeds", func() (string, error) { return "https://store.example/1?sig=secret", nil }, "https://store.example/1", false, false},
		{"an upload that fails", func() (string, error) { return "", errors.New("full: https://u:p@store.example/1?sig=secret") }, "", true, false},
		{"a store that panics", func() (string, error) { panic("on purpose") }, "", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			first, second := &notes{name: "a", log: &log}, &notes{name: "b", log: &log}
			o := newOffload(t, Options{Store: contextStore{&log, tt.do}, Threshold: 1, Compression: Zstd, Observers: []Observer{first}})
			o.Observe(second)
			schema, b := column(t, arrow.PrimitiveTypes.Int64, "[1, 2, 3]", nil)
			err := func() (err error) {
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("panic: %v", p)
					}
				}()
				_, _, err = o.Place(t.Context(), schema, []wire.Batch{b}, -1)
				return err
			}()
			if (err != nil) != tt.fails {
				t.Fatalf("place: %v", err)
			}
			want := []string{`a starts behind ""`, `b starts behind "a"`, `upload in "ab"`, `a ends in "ab"`, `b ends in "ab"`}
			if diff := cmp.Diff(want, log); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]Transfer{{URL: tt.url, Compression: Zstd}}, first.seen, ignore); diff != "" {
				t.Errorf("transfer (-want +got):\n%s", diff)
			}
			got := first.seen[0]
			if (got.Err != nil) != tt.fails || errors.Is(got.Err, errPanicked) != tt.panicked || got.RawBytes <= got.StoredBytes || got.StoredBytes <= 0 {
				t.Errorf("it ended with %v, %d bytes of %d", got.Err, got.StoredBytes, got.RawBytes)
			}
			if got.Err != nil && got.Err.Error() != redactError(got.Err) {
				t.Errorf("the error has a secret: %v", got.Err)
			}
		})
	}
}

func TestObserversSeeFetchesThatFail(t *testing.T) {
	var log []string
	n := &notes{name: "a", log: &log}
	o := newOffload(t, Options{Attempts: 2, RetryDelay: time.Nanosecond, Observers: []Observer{n}})
	schema, _ := column(t, arrow.PrimitiveTypes.Int64, "[1]", nil)
	pointer := pointerTo(schema, "https://127.0.0.1:1/x?sig=secret", "")
	if _, _, err := o.Resolve(t.Context(), pointer, nil, nil); err == nil {
		t.Fatal("it succeeds")
	}
	want := []Transfer{{Fetch: true, URL: "https://127.0.0.1:1/x", Pointer: pointer.Meta}}
	if diff := cmp.Diff(want, n.seen, cmpopts.IgnoreFields(Transfer{}, "Duration", "Err")); diff != "" {
		t.Errorf("transfer (-want +got):\n%s", diff)
	}
	if n.seen[0].Err == nil || len(log) != 2 {
		t.Errorf("it ended with %v: %q", n.seen[0].Err, log)
	}
}
