package mtls

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"

	"github.com/vgirpc/vgirpc-go/auth"
)

// What a Google load balancer says beside the SPIFFE ID.
const (
	googlePresent  = "X-Client-Cert-Present"
	googleVerified = "X-Client-Cert-Chain-Verified"
	googleError    = "X-Client-Cert-Error"
)

// evidence is what the connection or the proxy says of the client's certificate,
// verified and in the source's own form.
func (a *Authenticator) evidence(r *http.Request) (string, error) {
	if a.opts.Source == Direct {
		switch {
		case r.TLS == nil || len(r.TLS.PeerCertificates) == 0:
			return "", refuse(auth.MissingCredential, "no client certificate")
		case len(r.TLS.VerifiedChains) == 0:
			return "", refuse(auth.InvalidCredential, "the client certificate was not verified")
		}
		return string(r.TLS.PeerCertificates[0].Raw), nil
	}
	if !a.trusts(r) {
		return "", refuse(auth.ProxyRequired, "not from a trusted proxy")
	}
	if a.opts.Source == GoogleSPIFFE {
		if err := checkGoogle(r); err != nil {
			return "", err
		}
	}
	if a.opts.verified() {
		if err := a.checkVerified(r); err != nil {
			return "", err
		}
	}
	return one(r, a.opts.Header)
}

// one is the value of a header that the proxy has to set once.
func one(r *http.Request, name string) (string, error) {
	values := r.Header[name]
	switch {
	case len(values) > 1:
		return "", refuse(auth.InvalidCredential, "more than one header "+name)
	case len(values) == 0 || values[0] == "":
		return "", refuse(auth.ProxyRequired, "no header "+name)
	case len(values[0]) > maxHeader:
		return "", refuse(auth.InvalidCredential, "a long header "+name)
	}
	for i := range len(values[0]) {
		if b := values[0][i]; b < ' ' || b > '~' {
			return "", refuse(auth.InvalidCredential, "not only ASCII in the header "+name)
		}
	}
	return values[0], nil
}

// checkVerified reads what nginx says in $ssl_client_verify.
func (a *Authenticator) checkVerified(r *http.Request) error {
	verdict, err := one(r, a.opts.VerifyHeader)
	switch {
	case err != nil:
		return err
	case verdict == "SUCCESS":
		return nil
	case verdict == "NONE":
		return refuse(auth.MissingCredential, "no client certificate")
	case verdict == "FAILED:certificate has expired":
		return refuse(auth.ExpiredCredential, "the certificate has expired")
	}
	return refuse(auth.InvalidCredential, "the proxy has not verified the certificate")
}

// checkGoogle reads the headers beside the SPIFFE ID.
func checkGoogle(r *http.Request) error {
	present, err := one(r, googlePresent)
	if err != nil {
		return err
	}
	if present == "false" {
		return refuse(auth.MissingCredential, "no client certificate")
	}
	verified, err := one(r, googleVerified)
	if err != nil {
		return err
	}
	fault := r.Header[googleError]
	if present != "true" || verified != "true" || len(fault) > 1 || (len(fault) == 1 && fault[0] != "") {
		return refuse(auth.InvalidCredential, "the proxy has not verified the certificate")
	}
	return nil
}

// read makes a certificate of evidence.
func (a *Authenticator) read(raw string) (*certificate, error) {
	var (
		c   *certificate
		why string
	)
	switch a.opts.Source {
	case Direct:
		c, why = fromDER([]byte(raw))
	case EscapedPEM:
		c, why = fromEscapedPEM(raw)
	case ClientCert:
		c, why = fromByteSequence(raw)
	case XFCC:
		c, why = a.fromXFCC(raw)
	case Fingerprint:
		digits, ok := normalize(raw)
		if !ok {
			why = "no SHA-256 fingerprint"
		}
		c = &certificate{fingerprint: digits}
	case Subject:
		names, ok := parseDN(raw)
		if !ok {
			why = "no distinguished name"
		}
		c = &certificate{subject: raw, commonNames: names}
	case GoogleSPIFFE:
		c = &certificate{uris: []string{raw}}
	}
	if why != "" {
		return nil, refuse(auth.InvalidCredential, why)
	}
	return c, nil
}

func fromDER(der []byte) (*certificate, string) {
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, "no certificate"
	}
	return newCertificate(x), ""
}

// fromEscapedPEM reads one certificate, and nothing beside it. A plus is a plus:
// AWS does not escape it.
func fromEscapedPEM(raw string) (*certificate, string) {
	text, err := url.PathUnescape(raw)
	if err != nil || !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") {
		return nil, "no escaped PEM certificate"
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, "not one PEM certificate"
	}
	return fromDER(block.Bytes)
}

// fromByteSequence reads a structured field of one byte sequence (RFC 9440
// section 2.2, RFC 8941 section 3.3.5).
func fromByteSequence(raw string) (*certificate, string) {
	text := strings.Trim(raw, " ")
	if len(text) < 2 || text[0] != ':' || text[len(text)-1] != ':' {
		return nil, "no byte sequence"
	}
	der, err := base64.StdEncoding.Strict().DecodeString(text[1 : len(text)-1])
	if err != nil {
		return nil, "no byte sequence"
	}
	return fromDER(der)
}

// fromXFCC takes the element that the policy says.
func (a *Authenticator) fromXFCC(raw string) (*certificate, string) {
	elements, err := parseXFCC(raw)
	if err != nil {
		return nil, err.Error()
	}
	e := elements[len(elements)-1]
	switch {
	case a.opts.Element == Only && len(elements) > 1:
		return nil, "several elements in X-Forwarded-Client-Cert"
	case a.opts.Element == First:
		e = elements[0]
	}
	digits, ok := normalize(e.hash)
	if !ok || len(e.hash) != len(digits) {
		return nil, "no SHA-256 Hash in X-Forwarded-Client-Cert"
	}
	if e.cert != "" {
		block, rest := pem.Decode([]byte(e.cert))
		if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
			return nil, "no Cert in X-Forwarded-Client-Cert"
		}
		c, why := fromDER(block.Bytes)
		if why == "" && c.fingerprint != digits {
			return nil, "Cert and Hash in X-Forwarded-Client-Cert do not agree"
		}
		return c, why
	}
	c := &certificate{fingerprint: digits, subject: e.subject, uris: e.uri, dns: e.dns}
	if c.commonNames, ok = parseDN(e.subject); !ok {
		return nil, "no distinguished name in X-Forwarded-Client-Cert"
	}
	return c, ""
}
