package httpserver

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// vectors are the language-neutral cases of http-response-budgets.
type vectors struct {
	RequestHeader string   `json:"request_header"`
	Maximum       int64    `json:"maximum"`
	Invalid       []string `json:"invalid_values"`
	Valid         []struct {
		Raw   string `json:"raw"`
		Value int64  `json:"value"`
	} `json:"valid_values"`
	Precedence []struct {
		Application        int64 `json:"application"`
		Hosting            int64 `json:"hosting"`
		Client             int64 `json:"client"`
		Preferred          int64 `json:"preferred"`
		Effective          int64 `json:"effective"`
		EffectivePreferred int64 `json:"effective_preferred"`
	} `json:"precedence"`
	Oversize struct {
		Type     string `json:"type"`
		Fragment string `json:"message_fragment"`
	} `json:"oversize_error"`
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/http_response_budget_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) == 0 || len(v.Invalid) == 0 || len(v.Precedence) == 0 {
		t.Fatal("the vectors have no cases")
	}
	return v
}

func TestTheResponseLimitIsReadAsTheVectorsSay(t *testing.T) {
	v := readVectors(t)
	if got := http.CanonicalHeaderKey(v.RequestHeader); got != headerResponseLimit || v.Maximum != maxResponseLimit {
		t.Errorf("header %s and maximum %d, we have %s and %d", got, v.Maximum, headerResponseLimit, int64(maxResponseLimit))
	}
	for _, c := range v.Valid {
		got, err := clientLimit(http.Header{headerResponseLimit: {c.Raw}})
		if err != nil || got != c.Value {
			t.Errorf("%q is %d, %v: want %d", c.Raw, got, err, c.Value)
		}
	}
	for _, raw := range v.Invalid {
		if got, err := clientLimit(http.Header{headerResponseLimit: {raw}}); err == nil {
			t.Errorf("%q is accepted as %d", raw, got)
		}
	}
	if _, err := clientLimit(http.Header{headerResponseLimit: {"65536", "65536"}}); err == nil {
		t.Error("a repeated header is accepted")
	}
}

func TestTheSmallestLimitHoldsAsTheVectorsSay(t *testing.T) {
	for _, c := range readVectors(t).Precedence {
		opts, err := withDefaults(Options{
			MaxResponseBytes: c.Application, HostingMaxResponseBytes: c.Hosting, PreferredResponseBytes: c.Preferred,
		})
		if err != nil {
			t.Fatal(err)
		}
		h := &Handler{opts: opts}
		want := vgirpc.ResponseBudget{Limit: c.Effective, Preferred: c.EffectivePreferred}
		if diff := cmp.Diff(want, h.budget(c.Client, 0)); diff != "" {
			t.Errorf("%+v: (-want +got)\n%s", c, diff)
		}
	}
}

func TestAnOversizeResponseNamesLimitAndMethod(t *testing.T) {
	v := readVectors(t)
	err := tooLarge(70001, 70000, "echo")
	want := strings.NewReplacer("actual", "70001", "limit", "70000").Replace(v.Oversize.Fragment)
	if err.Type != v.Oversize.Type || !strings.Contains(err.Message, want) || !strings.Contains(err.Message, "'echo'") {
		t.Errorf("%s: %s", err.Type, err.Message)
	}
}

func TestALimitOnlyTightens(t *testing.T) {
	h := &Handler{opts: Options{MaxResponseBytes: 100_000}}
	for _, c := range []struct{ client, sealed, want int64 }{
		{0, 0, 100_000}, {200_000, 0, 100_000}, {90_000, 80_000, 80_000}, {70_000, 80_000, 70_000}, {0, 80_000, 80_000},
	} {
		if got := h.budget(c.client, c.sealed).Limit; got != c.want {
			t.Errorf("client %d, sealed %d: %d, want %d", c.client, c.sealed, got, c.want)
		}
	}
}
