package oauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Bounds of what is read of others.
const (
	maxDocument    = 256 << 10 // a metadata document or an answer of a token endpoint, in bytes
	maxToken       = 64 << 10  // a token, in bytes
	maxDescription = 200       // what an error shows of a description, in bytes
	maxLifetime    = 10 * 365 * 24 * time.Hour
	requestTimeout = 30 * time.Second // one request to an issuer
)

// An Error is the refusal of an authorization server (RFC 6749 section 5.2, RFC
// 8628 section 3.5). It has no secrets.
type Error struct {
	// Op is what was asked for, such as "refresh".
	Op string
	// Status is that of the response; 0 for an error that the browser brought.
	Status int
	// Code is the error's code, "" when the answer had none.
	Code string
	// Description is the server's, on one line and at most 200 bytes long.
	Description string
}

// Error names what was refused, and why.
func (e *Error) Error() string {
	s := "oauth: " + e.Op + " was refused"
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.Status != 0 && e.Code == "" {
		s += ": HTTP " + strconv.Itoa(e.Status)
	}
	return s
}

// Codes of errors that make a difference.
const (
	codeInvalidGrant  = "invalid_grant"
	codeInvalidClient = "invalid_client"
	codePending       = "authorization_pending"
	codeSlowDown      = "slow_down"
	codeExpired       = "expired_token"
	codeDenied        = "access_denied"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// refusal is an authorization server's error as a call's.
func refusal(err *Error) error {
	code := vgirpc.Unauthenticated
	if err.Status/100 == 5 || err.Status == http.StatusTooManyRequests {
		code = vgirpc.Unavailable
	}
	return vgirpc.Errorf(code, "%w", err)
}

// secure parses a URL to which credentials may be sent, or that a person may be
// told to open: https, or http to this machine.
func secure(what, raw string) (*url.URL, error) {
	u, err := parseSecure(raw)
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the %s %w", what, err)
	}
	return u, nil
}

func parseSecure(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || !printable(raw):
		return nil, errors.New("is no URL of http or https")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("has credentials or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("is at %.100s: want https (http is for this machine alone)", u.Scheme+"://"+u.Host)
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == unicode.ReplacementChar || !unicode.IsPrint(r) }) < 0
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// sameOrigin compares scheme, host and port. Names of this machine are the same.
func sameOrigin(a, b *url.URL) bool {
	sameHost := strings.EqualFold(a.Hostname(), b.Hostname()) || isLoopback(a.Hostname()) && isLoopback(b.Hostname())
	return a.Scheme == b.Scheme && sameHost && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// random is n random bytes as text that any URL can have.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// send sends a request to an issuer or for a document, and returns status and body.
// Redirects are not followed: none of them is expected, and a form that was sent
// elsewhere would take its secrets along.
func (c *Client) send(req *http.Request) (status int, body []byte, err error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "vgirpc-go")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, unreachable(req, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return 0, nil, unreachable(req, err)
	}
	if len(body) > maxDocument {
		return 0, nil, vgirpc.Errorf(vgirpc.ResourceExhausted, "oauth: the answer of %s has more than %d bytes", place(req.URL), maxDocument)
	}
	return resp.StatusCode, body, nil
}

// place is a URL without what may be secret.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

func unreachable(req *http.Request, err error) error {
	if req.Context().Err() != nil {
		return vgirpc.ContextError(req.Context())
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it names the URL once more, with its query
	}
	return vgirpc.Errorf(vgirpc.Unavailable, "oauth: %s cannot be reached: %w", place(req.URL), err)
}

// document gets a JSON document. It reports false where there is none.
func (c *Client) document(ctx context.Context, from *url.URL, into any) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), http.NoBody)
	if err != nil {
		return false, fmt.Errorf("oauth: %w", err)
	}
	status, body, err := c.send(req)
	if err != nil {
		return false, err
	}
	switch {
	case status == http.StatusOK:
	case status/100 == 5, status == http.StatusTooManyRequests:
		return false, vgirpc.Errorf(vgirpc.Unavailable, "oauth: %s answers %d", place(from), status)
	default:
		return false, nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return false, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s is no JSON document of the kind that is expected", place(from))
	}
	return true, nil
}

// credentials are a client's at the endpoints of an issuer.
type credentials struct{ id, secret string }

// post sends a form to an endpoint of an issuer, and decodes the answer. The
// secret travels in the form; an issuer that does not know the client this way
// gets it in a header (RFC 6749 section 2.3.1).
func (c *Client) post(ctx context.Context, op, endpoint string, who credentials, form url.Values, into any) error {
	inHeader := c.secretInHeader.Load()
	err := c.postOnce(ctx, op, endpoint, who, form, inHeader, into)
	if who.secret == "" || codeOf(err) != codeInvalidClient {
		return err
	}
	if other := c.postOnce(ctx, op, endpoint, who, form, !inHeader, into); codeOf(other) != codeInvalidClient {
		c.secretInHeader.Store(!inHeader)
		return other
	}
	return err
}

func (c *Client) postOnce(ctx context.Context, op, endpoint string, who credentials, form url.Values, inHeader bool, into any) error {
	u, err := secure("endpoint for "+op, endpoint)
	if err != nil {
		return err
	}
	fields := url.Values{}
	maps.Copy(fields, form)
	if who.secret == "" || !inHeader {
		fields.Set("client_id", who.id)
		if who.secret != "" {
			fields.Set("client_secret", who.secret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return fmt.Errorf("oauth: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if who.secret != "" && inHeader {
		req.SetBasicAuth(url.QueryEscape(who.id), url.QueryEscape(who.secret))
	}
	status, body, err := c.send(req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return refusal(newError(op, status, body, append(secretsOf(form), who.secret)))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the answer of %s cannot be read as JSON", place(u))
	}
	return nil
}

// secretsOf are the values of a form that no message may have.
func secretsOf(form url.Values) []string {
	var secrets []string
	for _, name := range []string{"refresh_token", "code", "code_verifier", "device_code", "token"} {
		secrets = append(secrets, form[name]...)
	}
	return secrets
}

// newError reads the body of a refusal. Only what the protocol says is an error
// gets out of it, and no secret even if the server repeats it.
func newError(op string, status int, body []byte, secrets []string) *Error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	e := &Error{Op: op, Status: status}
	if json.Unmarshal(body, &said) == nil {
		e.Code, e.Description = said.Code, redact(said.Description, secrets)
		if !isCode(said.Code) || slices.Contains(secrets, said.Code) {
			e.Code = redact(said.Code, secrets)
		}
	}
	return e
}

// isCode reports whether s looks like the codes of the protocol, which are told
// apart and so must not lose a letter.
func isCode(s string) bool {
	return len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// redact is one line of somebody else's text, cut to size and without secrets.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxDescription {
		s = strings.ToValidUTF8(s[:maxDescription], "") + "…"
	}
	return s
}

// tokenResponse is the answer of a token endpoint (RFC 6749 section 5.1).
type tokenResponse struct {
	AccessToken  string   `json:"access_token"`
	RefreshToken string   `json:"refresh_token"`
	IDToken      string   `json:"id_token"`
	TokenType    string   `json:"token_type"`
	Scope        string   `json:"scope"`
	ExpiresIn    *seconds `json:"expires_in"`
}

// seconds are a number, or a number in a string as some issuers have it.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(string(bytes.Trim(data, `"`)), 64)
	if err != nil || math.IsNaN(n) {
		return errors.New("no number of seconds")
	}
	*s = seconds(n)
	return nil
}

func (s *seconds) duration(otherwise time.Duration) time.Duration {
	if s == nil || *s <= 0 {
		return otherwise
	}
	return time.Duration(min(float64(*s), maxLifetime.Seconds()) * float64(time.Second))
}

// fill puts an answer into a record, which keeps its refresh token where the
// answer has none.
func (r *Record) fill(t *tokenResponse, now time.Time) error {
	switch {
	case t.AccessToken == "" && (!r.UseIDToken || t.IDToken == ""):
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s answered without a token", r.Issuer)
	case t.TokenType != "" && !strings.EqualFold(t.TokenType, "bearer"):
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s answered with a token of another type than bearer", r.Issuer)
	}
	for _, token := range []string{t.AccessToken, t.RefreshToken, t.IDToken} {
		if len(token) > maxToken || !printable(token) {
			return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s answered with a token that cannot be sent", r.Issuer)
		}
	}
	r.AccessToken, r.IDToken, r.Obtained, r.Expiry = t.AccessToken, t.IDToken, now, time.Time{}
	if t.RefreshToken != "" {
		r.RefreshToken = t.RefreshToken
	}
	if t.Scope != "" {
		r.Scope = t.Scope
	}
	if life := t.ExpiresIn.duration(0); life > 0 {
		r.Expiry = now.Add(life)
	}
	if claims, ok := parseIDToken(r.IDToken); ok && r.UseIDToken && claims.Expiry != 0 {
		r.Expiry = time.Unix(int64(claims.Expiry), 0)
	}
	return nil
}

// idClaims are those claims of an ID token that are of use here.
type idClaims struct {
	Issuer   string       `json:"iss"`
	Subject  string       `json:"sub"`
	Audience audienceList `json:"aud"`
	Expiry   seconds      `json:"exp"`
	Nonce    string       `json:"nonce"`
	Email    string       `json:"email"`
	Name     string       `json:"name"`
}

// audienceList is one string or several.
type audienceList []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audienceList) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audienceList{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// parseIDToken reads the claims of an ID token. Its signature is not checked: it
// came from the issuer itself over TLS (OpenID Connect Core section 3.1.3.7), and
// nothing is decided by it.
func parseIDToken(token string) (idClaims, bool) {
	var claims idClaims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return claims, err == nil && json.Unmarshal(payload, &claims) == nil
}

// checkIDToken compares an ID token with the login that asked for it.
func checkIDToken(token, issuer, client, nonce string, now time.Time) error {
	const leeway = time.Minute
	claims, ok := parseIDToken(token)
	var wrong string
	switch {
	case !ok:
		wrong = "cannot be read"
	case claims.Issuer != issuer:
		wrong = "is of another issuer"
	case !slices.Contains(claims.Audience, client):
		wrong = "is for another client"
	case claims.Nonce != nonce:
		wrong = "has another nonce: it answers another login"
	case now.Add(-leeway).After(time.Unix(int64(claims.Expiry), 0)):
		wrong = "has expired"
	default:
		return nil
	}
	return vgirpc.Errorf(vgirpc.Unauthenticated, "oauth: the ID token of %s %s", issuer, wrong)
}
