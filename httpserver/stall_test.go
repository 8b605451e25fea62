package httpserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestABodyThatStandsStillIsToldSo(t *testing.T) {
	_, address := serve(t, newHandler(t, httpserver.Options{MaxRequestBytes: 1 << 20, JSON: &httpserver.JSONGateway{}}),
		httpserver.ServeOptions{ProgressTimeout: soon})
	body := echoFloat(t)
	half := string(body[:len(body)/2])
	codings, err := encoding.New(encoding.Options{})
	if err != nil {
		t.Fatal(err)
	}
	packed := func(c encoding.Coding) string {
		coded := codings.EncodeParts(nil, c, [][]byte{body})
		return string(coded[:len(coded)/2])
	}
	const echo = "/ConformanceService/echo_float"
	for _, tt := range []struct{ name, path, fields, sent string }{
		{"half a body of known length", echo, fmt.Sprintf("Content-Length: %d\r\n", len(body)), half},
		{"a body that never begins", echo, fmt.Sprintf("Content-Length: %d\r\n", len(body)), ""},
		{"half a chunked body", echo, "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(half), half)},
		{"half a body in gzip", echo, "Content-Encoding: gzip\r\nContent-Length: 9999\r\n", packed(encoding.Gzip)},
		{"half a body in zstd", echo, "Content-Encoding: zstd\r\nContent-Length: 9999\r\n", packed(encoding.Zstd)},
		{"half an input of a stream", accumulate + "/exchange", "Content-Length: 9999\r\n", half},
		{"half an object for the gateway", echo + "?format=json", "Content-Length: 9999\r\n", `{"value":`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, address)
			kind := arrowType
			if strings.HasSuffix(tt.path, "json") {
				kind = "application/json"
			}
			if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s\r\n%s", tt.path, kind, tt.fields, tt.sent); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(c)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			answer, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusRequestTimeout {
				t.Errorf("status %s: %q", res.Status, answer)
			}
			if kind == arrowType {
				s := wire.ParseStatus(last(t, answer).Meta)
				if s.Code != "DEADLINE_EXCEEDED" || s.Type != "StallError" || !strings.Contains(s.Message, "ServeOptions.ProgressTimeout") {
					t.Errorf("it says %s %s %q", s.Code, s.Type, s.Message)
				}
			} else if !strings.Contains(string(answer), "StallError") || !strings.Contains(string(answer), "ServeOptions.ProgressTimeout") {
				t.Errorf("it says %s", answer)
			}
			if _, err := in.ReadByte(); err == nil {
				t.Error("the connection goes on, in the middle of a body")
			}
		})
	}
}

func TestABodyThatStandsStillOverHTTP2IsToldSoAndItsConnectionGoesOn(t *testing.T) {
	_, address := serve(t, newHandler(t, httpserver.Options{}), httpserver.ServeOptions{ProgressTimeout: notSoon})
	c := client(t, onlyH2C)
	url := "http://" + address + "/ConformanceService/echo_float"
	body := echoFloat(t)
	silent, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	go func() { _, _ = feed.Write(body[:len(body)/2]) }()
	post := func(sent io.Reader) (status int) {
		r := request(t, http.MethodPost, url, sent)
		r.Header.Set("Content-Type", arrowType)
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := post(silent); got != http.StatusRequestTimeout {
		t.Errorf("status %d, want %d", got, http.StatusRequestTimeout)
	}
	for end := time.Now().Add(time.Minute); ; { // a slow machine may keep a good one waiting as well
		switch got := post(bytes.NewReader(body)); {
		case got == http.StatusOK:
			return
		case got != http.StatusRequestTimeout || time.Now().After(end):
			t.Fatalf("status %d, want %d", got, http.StatusOK)
		}
	}
}
