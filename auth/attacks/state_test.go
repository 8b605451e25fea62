package attacks_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func as(token string) http.Header { return http.Header{headerAuth: {"Bearer " + token}} }

// sent is a recorded request, sent by somebody, and what the server says of it.
func (c *recorder) sent(tb testing.TB, base, bearer string) (status int, failed string, calls int64) {
	tb.Helper()
	r := c.request(tb, base)
	if bearer != "" {
		r.Header.Set(headerAuth, "Bearer "+bearer)
	}
	before := dispatched.Load()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		tb.Fatal(err)
	}
	switch {
	case bytes.Contains(text, []byte("StateTokenError")):
		failed = "StateTokenError"
	case bytes.Contains(text, []byte("session_lost")):
		failed = "session_lost"
	case resp.StatusCode == http.StatusUnauthorized:
		failed = resp.Header.Get("Vgi-Auth-Reason")
	}
	return resp.StatusCode, failed, dispatched.Load() - before
}

// outcome is what became of somebody else's state.
type outcome struct {
	Status int
	Failed string
	Calls  int64
}

func TestWhatBelongsToOneCallerIsOfNoUseToAnother(t *testing.T) {
	s := newSites(t).tokens

	stream := &recorder{}
	open, err := s.total.Open(t.Context(), s.client(t, as(annToken), stream).Client(), vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second request has a state that was sealed at the first
		if err := open.Send(t.Context(), row{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := open.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasSuffix(stream.path, "/exchange") {
		t.Fatalf("the last request of the stream is for %s", stream.path)
	}

	held := &recorder{}
	session := s.client(t, as(annToken), held).Session()
	if _, err := s.keep.Call(t.Context(), session.Client(), vgirpc.None{}); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.kept.Call(t.Context(), session.Client(), vgirpc.None{}); err != nil || kept != "kept" {
		t.Fatalf("%q, %v", kept, err)
	}
	if held.header.Get("Vgi-Session") == "" {
		t.Fatal("the request names no session")
	}

	for _, tt := range []struct {
		name, repelled string
		request        *recorder
		bearer         string
		want           outcome
	}{
		{"a stream's token, by another", "httpserver: tokens are bound to their caller", stream, bobToken, outcome{400, "StateTokenError", 0}},
		{"a stream's token, by nobody", "authentication comes first", stream, "", outcome{401, "missing_credential", 0}},
		{"a stream's token, by its owner", "", stream, annToken, outcome{200, "", 1}},
		{"a session, by another", "httpserver: sessions are bound to their caller", held, bobToken, outcome{200, "session_lost", 0}},
		{"a session, by nobody", "authentication comes first", held, "", outcome{401, "missing_credential", 0}},
		{"a session, by its owner", "", held, annToken, outcome{200, "", 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got outcome
			got.Status, got.Failed, got.Calls = tt.request.sent(t, s.url, tt.bearer)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s:\n%s", tt.repelled, diff)
			}
		})
	}
}

// TestBearersAreComparedInConstantTimeByConstruction reads the source: the loop
// over all tokens compares digests with subtle, ends nowhere early, and decides
// nothing.
func TestBearersAreComparedInConstantTimeByConstruction(t *testing.T) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../bearer.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var loops []*ast.RangeStmt
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "Authenticate" {
			ast.Inspect(f, func(n ast.Node) bool {
				if loop, ok := n.(*ast.RangeStmt); ok {
					loops = append(loops, loop)
				}
				return true
			})
		}
	}
	if len(loops) != 1 {
		t.Fatalf("%d loops over tokens, want one", len(loops))
	}
	compared := false
	ast.Inspect(loops[0].Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BranchStmt, *ast.ReturnStmt, *ast.IfStmt, *ast.SwitchStmt, *ast.DeferStmt, *ast.GoStmt:
			t.Errorf("a %T in the loop: how long it takes would tell how far a token is right", n)
		case *ast.BinaryExpr:
			t.Errorf("%s in the loop: only subtle compares", n.Op)
		case *ast.SelectorExpr:
			compared = compared || n.Sel.Name == "ConstantTimeCompare"
		}
		return true
	})
	if !compared {
		t.Error("nothing is compared in constant time")
	}
}

// TestAttacksThatAreRepelledElsewhereStillAre holds this table against the tests
// of other packages that have further attacks: they must not vanish.
func TestAttacksThatAreRepelledElsewhereStillAre(t *testing.T) {
	for file, tests := range map[string]map[string][]string{
		"../oauth/attack_test.go": {
			"TestACallbackIsRefused":                       {"another state (CSRF)", "(login CSRF)", "(fixation)"},
			"TestAnAnswerThatIsNotForThisServiceIsRefused": {"nonce"},
			"TestNoRedirectLeavesTheService":               {"//evil.test", "javascript:alert(1)"},
			"TestTokensGoToAllowedOriginsAlone":            {"evil"},
		},
		"../oauth/flow_test.go":          {"TestTheCookieIsACredentialOfPagesAlone": nil, "TestATokenGoesToAllowedFrontendsAlone": nil},
		"../oauth/proxy_test.go":         {"TestAStateIsGoodForOneTime": nil, "TestTheProxyHasOriginsOfItsOwn": nil},
		"../jwt/jwt_test.go":             {"TestTokens": nil, "TestKeysInTokens": nil, "TestNothingOfATokenIsTold": nil},
		"../jwt/remote_test.go":          {"TestStormOfUnknownKeys": nil},
		"../proof/proof_test.go":         {"TestReplays": nil, "TestOfManyCopiesAtOnceOneIsFirst": nil},
		"../mtls/mtls_test.go":           {"TestForwardedCertificates": nil, "TestProxies": nil},
		"../peer/httpserver_test.go":     {"TestStateIsItsPeers": nil},
		"../socket/attack_test.go":       {"TestAttacksOnTheServerAreRefusedWithAReason": nil, "TestAttacksOnTheClientAreErrorsOfTheClient": nil},
		"../proxyproto/receiver_test.go": nil,
	} {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		texts := map[string]string{} // literals by test
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			texts[f.Name.Name] = "\n"
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == gotoken.STRING {
					texts[f.Name.Name] += l.Value + "\n"
				}
				return true
			})
		}
		for test, rows := range tests {
			for _, row := range append(rows, "\n") {
				if !strings.Contains(texts[test], row) {
					t.Errorf("%s: %s with %q is not there any more", file, test, row)
				}
			}
		}
	}
}
