package peercert_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/peercert"
)

func TestAPeersCertificateIsGoodUntilItsLastChainBreaks(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	chain := func(days ...int) (certs []*x509.Certificate) {
		for _, day := range days {
			certs = append(certs, &x509.Certificate{NotAfter: at(day)})
		}
		return certs
	}
	for _, tt := range []struct {
		name   string
		leaf   []*x509.Certificate
		chains [][]*x509.Certificate
		want   time.Time
	}{
		{"no certificate", nil, nil, time.Time{}},
		{"one that nobody verified", chain(5), nil, at(5)},
		{"a leaf that ends first", chain(5), [][]*x509.Certificate{chain(5, 9, 20)}, at(5)},
		{"an authority that ends first", chain(5), [][]*x509.Certificate{chain(5, 3, 20)}, at(3)},
		{"two chains, of which the second lasts longer", chain(9), [][]*x509.Certificate{chain(9, 3), chain(9, 7)}, at(7)},
		{"two chains, of which the first does", chain(9), [][]*x509.Certificate{chain(9, 7), chain(9, 3)}, at(7)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := peercert.ValidUntil(&tls.ConnectionState{PeerCertificates: tt.leaf, VerifiedChains: tt.chains}); !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
