package encoding_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

func codings(tb testing.TB, o encoding.Options) *encoding.Codings {
	tb.Helper()
	k, err := encoding.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// header builds a header from pairs, as a server would have parsed it.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestAdvertised(t *testing.T) {
	for name, test := range map[string]struct {
		options encoding.Options
		want    string
	}{
		"both codings by default, zstd first":        {encoding.Options{}, "zstd, gzip"},
		"gzip alone without zstd":                    {encoding.Options{NoZstd: true}, "gzip"},
		"nothing where responses are not compressed": {encoding.Options{NoResponse: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := codings(t, test.options).Advertised(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestHeaderNamesAreCanonical(t *testing.T) {
	for _, name := range []string{
		encoding.ContentEncoding, encoding.CustomContentEncoding, encoding.AcceptEncoding, encoding.CustomAcceptEncoding,
	} {
		if got := http.CanonicalHeaderKey(name); got != name {
			t.Errorf("http.Header keeps %q as %q", name, got)
		}
	}
}

func TestNegotiate(t *testing.T) {
	const (
		accept = "Accept-Encoding"
		custom = "X-VGI-Accept-Encoding"
		std    = "Content-Encoding"
		own    = "X-Vgi-Content-Encoding"
	)
	type want struct {
		Coding encoding.Coding
		Header string
	}
	plain := want{}
	for name, test := range map[string]struct {
		options encoding.Options
		headers http.Header
		want    want
	}{
		"no header is plain":                       {headers: nil, want: plain},
		"an empty header is plain":                 {headers: header(accept, ""), want: plain},
		"zstd":                                     {headers: header(accept, "zstd"), want: want{encoding.Zstd, std}},
		"gzip":                                     {headers: header(accept, "gzip"), want: want{encoding.Gzip, std}},
		"the client's order counts":                {headers: header(accept, "gzip, zstd"), want: want{encoding.Gzip, std}},
		"what the server lacks is passed over":     {headers: header(accept, "deflate, br, zstd"), want: want{encoding.Zstd, std}},
		"only what the server lacks is plain":      {headers: header(accept, "br"), want: plain},
		"a wildcard names no coding":               {headers: header(accept, "*"), want: plain},
		"identity first ends the search":           {headers: header(accept, "identity, zstd"), want: plain},
		"identity later is a last resort":          {headers: header(accept, "zstd, identity"), want: want{encoding.Zstd, std}},
		"tokens have no case and any space":        {headers: header(accept, "\tBR ,  ZStd\t"), want: want{encoding.Zstd, std}},
		"x-gzip is gzip":                           {headers: header(accept, "x-gzip"), want: want{encoding.Gzip, std}},
		"empty elements are nothing":               {headers: header(accept, ",, ,gzip,"), want: want{encoding.Gzip, std}},
		"a token must match to its end":            {headers: header(accept, "zstd2, xzstd, gzi"), want: plain},
		"several lines are one list":               {headers: header(accept, "br", accept, "gzip", accept, "zstd"), want: want{encoding.Gzip, std}},
		"weights are no order":                     {headers: header(accept, "gzip;q=0.1, zstd;q=1.0"), want: want{encoding.Gzip, std}},
		"weight zero refuses":                      {headers: header(accept, "zstd;q=0, gzip"), want: want{encoding.Gzip, std}},
		"weight zero with decimals refuses":        {headers: header(accept, "zstd ; Q=0.000, gzip ; q=0.001"), want: want{encoding.Gzip, std}},
		"weight zero of identity is no choice":     {headers: header(accept, "identity;q=0, gzip"), want: want{encoding.Gzip, std}},
		"other parameters are nothing":             {headers: header(accept, "zstd;level=0;q=1"), want: want{encoding.Zstd, std}},
		"the custom header alone names its own":    {headers: header(custom, "zstd"), want: want{encoding.Zstd, own}},
		"likewise with an empty standard header":   {headers: header(custom, "gzip", accept, ""), want: want{encoding.Gzip, own}},
		"the custom header's order goes first":     {headers: header(accept, "deflate, gzip, br, zstd", custom, "zstd, gzip"), want: want{encoding.Zstd, std}},
		"a coding only in the custom header":       {headers: header(accept, "gzip", custom, "zstd"), want: want{encoding.Zstd, own}},
		"custom identity beats the standard list":  {headers: header(accept, "gzip, zstd", custom, "identity"), want: plain},
		"custom without a match falls through":     {headers: header(accept, "gzip", custom, "br"), want: want{encoding.Gzip, std}},
		"custom refusal holds for both":            {headers: header(accept, "zstd, gzip", custom, "zstd;q=0"), want: want{encoding.Gzip, std}},
		"standard refusal is no offer":             {headers: header(accept, "zstd;q=0", custom, "zstd"), want: want{encoding.Zstd, own}},
		"standard identity is not first":           {headers: header(accept, "identity", custom, "gzip"), want: want{encoding.Gzip, own}},
		"a server that produces nothing is plain":  {options: encoding.Options{NoResponse: true}, headers: header(accept, "zstd", custom, "zstd, gzip"), want: plain},
		"a server without zstd takes the next one": {options: encoding.Options{NoZstd: true}, headers: header(accept, "zstd, gzip"), want: want{encoding.Gzip, std}},
	} {
		t.Run(name, func(t *testing.T) {
			var got want
			got.Coding, got.Header = codings(t, test.options).Negotiate(test.headers)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequested(t *testing.T) {
	const name = "Content-Encoding"
	long := strings.Repeat("a", 1000)
	for sentence, test := range map[string]struct {
		options encoding.Options
		headers http.Header
		want    encoding.Coding
		message string // of the error, when there is one
		accept  string
	}{
		"no header is plain":                  {headers: nil},
		"an empty header is plain":            {headers: header(name, "")},
		"identity is plain":                   {headers: header(name, "Identity")},
		"zstd":                                {headers: header(name, "zstd"), want: encoding.Zstd},
		"gzip in capitals":                    {headers: header(name, " GZIP "), want: encoding.Gzip},
		"x-gzip is gzip":                      {headers: header(name, "x-gzip"), want: encoding.Gzip},
		"identity beside a coding is nothing": {headers: header(name, "identity, gzip"), want: encoding.Gzip},
		"a server that produces nothing still reads": {
			options: encoding.Options{NoResponse: true}, headers: header(name, "zstd"), want: encoding.Zstd,
		},
		"an unknown coding": {
			headers: header(name, "br"),
			message: `content coding "br" is not supported: send zstd, gzip or identity`, accept: "zstd, gzip",
		},
		"zstd where it is off": {
			options: encoding.Options{NoZstd: true}, headers: header(name, "zstd"),
			message: `content coding "zstd" is not supported: send gzip or identity`, accept: "gzip",
		},
		"two codings": {
			headers: header(name, "gzip, zstd"),
			message: `several content codings on one body are not supported ("gzip, zstd"): send one of zstd, gzip`, accept: "zstd, gzip",
		},
		"one coding twice, in two lines": {
			headers: header(name, "gzip", name, "gzip"),
			message: `several content codings on one body are not supported ("gzip, gzip"): send one of zstd, gzip`, accept: "zstd, gzip",
		},
		"parameters are not part of a content coding": {
			headers: header(name, "gzip;q=1"), want: encoding.Identity,
			message: `content coding "gzip;q=1" is not supported: send zstd, gzip or identity`, accept: "zstd, gzip",
		},
		"an endless name is cut": {
			headers: header(name, long),
			message: `content coding "` + long[:64] + `" is not supported: send zstd, gzip or identity`, accept: "zstd, gzip",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, err := codings(t, test.options).Requested(test.headers)
			if got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if test.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			unsupported, ok := errors.AsType[*encoding.UnsupportedError](err)
			if !ok {
				t.Fatalf("error is %T (%v)", err, err)
			}
			if diff := cmp.Diff(test.message, unsupported.Error()); diff != "" {
				t.Error(diff)
			}
			if unsupported.Accept != test.accept {
				t.Errorf("Accept is %q, want %q", unsupported.Accept, test.accept)
			}
		})
	}
}
