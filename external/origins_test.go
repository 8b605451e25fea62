package external

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// home is a store that says where its objects are.
type home struct {
	*shelf
	origins []string
}

// Origins is what a test says.
func (h home) Origins() []string { return h.origins }

func TestTheStoresOwnOriginMayBeFetchedFrom(t *testing.T) {
	schema, data := numbers(t, nil)
	s := newShelf(t)
	pointer := pointerTo(schema, s.put("/o", stream(t, schema, data), ""), "")
	for _, tt := range []struct {
		name    string
		store   Store
		allowed []string
		want    vgirpc.Code
	}{
		{"the default, and no store", nil, nil, vgirpc.PermissionDenied},
		{"a store that does not say", s, nil, vgirpc.PermissionDenied},
		{"a store that says", home{s, []string{s.server.URL}}, nil, ""},
		{"a store that says, besides others", home{s, []string{s.server.URL}}, []string{"https://example.com"}, ""},
		{"a store that is elsewhere", home{s, []string{"http://127.0.0.1:1"}}, nil, vgirpc.PermissionDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := New(Options{Store: tt.store, AllowedOrigins: tt.allowed, RetryDelay: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			_, release, err := o.Resolve(t.Context(), pointer, schema, nil)
			release()
			if (err == nil) != (tt.want == "") || (err != nil && vgirpc.CodeOf(err) != tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("public hosts stay allowed", func(t *testing.T) {
		o, err := New(Options{Store: home{s, []string{s.server.URL}}})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		u, err := url.Parse("https://storage.example.com/o")
		if err != nil {
			t.Fatal(err)
		}
		if err := o.policy.check(u); err != nil {
			t.Error(err)
		}
	})
	if _, err := New(Options{Store: home{s, []string{"not an origin"}}}); err == nil {
		t.Error("a store's origin that is none is taken")
	}
}

func TestRedactedErrorsLeadNowhere(t *testing.T) {
	leak := &url.Error{Op: "Get", URL: "https://user:pw@host/o?sig=" + secret + "#f", Err: context.Canceled}
	for name, err := range map[string]error{
		"bare":    leak,
		"wrapped": fmt.Errorf("storage: %w", leak),
		"text":    errors.Join(fmt.Errorf("failed: %s", leak.URL), context.Canceled),
	} {
		t.Run(name, func(t *testing.T) {
			got := Redacted(err)
			if !errors.Is(got, context.Canceled) || errors.As(got, new(*url.Error)) || strings.Contains(got.Error(), secret) || strings.Contains(got.Error(), "pw") {
				t.Errorf("got %v", got)
			}
			if !strings.Contains(got.Error(), "https://host/o") {
				t.Errorf("got %v, which says too little", got)
			}
		})
	}
	if Redacted(nil) != nil {
		t.Error("nil is an error")
	}
}
