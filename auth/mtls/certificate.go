package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
)

// certificate is what is known of a client's certificate: all of it, or what a
// proxy has picked.
type certificate struct {
	fingerprint         string // SHA-256, 64 lower-case digits
	subject             string // RFC 4514
	commonNames         []string
	uris, dns           []string
	serial              string // lower-case digits
	notBefore, notAfter time.Time
	x509                *x509.Certificate // nil when only some of it is known
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

func newCertificate(x *x509.Certificate) *certificate {
	sum := sha256.Sum256(x.Raw)
	c := &certificate{
		fingerprint: hex.EncodeToString(sum[:]), subject: x.Subject.String(), serial: x.SerialNumber.Text(16),
		dns: x.DNSNames, notBefore: x.NotBefore, notAfter: x.NotAfter, x509: x,
	}
	for _, attribute := range x.Subject.Names {
		if text, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidCommonName) {
			c.commonNames = append(c.commonNames, text)
		}
	}
	for _, u := range x.URIs {
		c.uris = append(c.uris, u.String())
	}
	return c
}

// name is the principal of a certificate.
func (c *certificate) name(kind Name, trustDomains []string) (string, error) {
	var names []string
	switch kind {
	case CommonName:
		names = c.commonNames
	case SubjectDN:
		names = []string{c.subject}
	case URI:
		names = c.uris
	case DNS:
		names = c.dns
	case SHA256:
		names = []string{c.fingerprint}
	case SPIFFEID:
		if err := checkSVID(c.x509); err != nil {
			return "", err
		}
		names = c.uris
		if len(names) == 1 && !knownWorkload(names[0], trustDomains) {
			return "", errors.New("no SPIFFE ID of a workload in a known trust domain")
		}
	}
	if len(names) != 1 || names[0] == "" || strings.ContainsFunc(names[0], unicode.IsControl) {
		return "", errors.New("the certificate does not have one name of the kind " + string(kind))
	}
	return names[0], nil
}

// claims are what is told of a certificate, in the terms of docs/api/mtls.md.
func (c *certificate) claims() map[string]any {
	out := map[string]any{}
	for name, text := range map[string]string{
		"subject_dn": c.subject, "serial": c.serial, "sha256": c.fingerprint,
	} {
		if text != "" {
			out[name] = text
		}
	}
	for name, list := range map[string][]string{"uri": c.uris, "dns": c.dns} {
		if len(list) > 0 {
			out[name] = slices.Clone(list)
		}
	}
	if !c.notAfter.IsZero() {
		out["not_valid_after"] = c.notAfter.UTC().Format(time.RFC3339)
	}
	return out
}

var (
	oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// checkSVID holds a leaf against the X.509-SVID profile; x is nil when the proxy
// tells only of what it has verified.
func checkSVID(x *x509.Certificate) error {
	if x == nil {
		return nil
	}
	critical := func(oid asn1.ObjectIdentifier) bool {
		for _, e := range x.Extensions {
			if e.Id.Equal(oid) {
				return e.Critical
			}
		}
		return false
	}
	usages := x.ExtKeyUsage
	extended := len(usages) > 0 || len(x.UnknownExtKeyUsage) > 0
	switch {
	case len(x.Subject.Names) == 0 && !critical(oidSAN):
		return errors.New("an X.509-SVID without a subject needs critical alternative names")
	case x.IsCA:
		return errors.New("an X.509-SVID of a workload is no CA")
	case !critical(oidKeyUsage) || x.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("the key usage of an X.509-SVID is critical and allows signatures")
	case x.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("an X.509-SVID of a workload signs no certificates")
	case extended && (!slices.Contains(usages, x509.ExtKeyUsageClientAuth) || !slices.Contains(usages, x509.ExtKeyUsageServerAuth)):
		return errors.New("the extended key usage of an X.509-SVID allows clients and servers")
	}
	return nil
}

// knownWorkload reports whether s is the SPIFFE ID of a workload in one of the
// trust domains: its scheme, the domain and at least one segment of a path, with
// no user, port, query, escape or dots.
func knownWorkload(s string, trustDomains []string) bool {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	domain, path, slash := strings.Cut(rest, "/")
	if !ok || !slash || len(s) > 2048 || !slices.Contains(trustDomains, domain) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." ||
			strings.ContainsFunc(segment, func(c rune) bool { return !isWord(c) && (c < 'A' || c > 'Z') }) {
			return false
		}
	}
	return true
}

func validTrustDomain(s string) bool {
	return s != "" && len(s) <= 255 && strings.Trim(s, "._-") == s &&
		!strings.ContainsFunc(s, func(c rune) bool { return !isWord(c) })
}

// isWord reports whether c may be in a trust domain.
func isWord(c rune) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("._-", c)
}
