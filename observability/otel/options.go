package otel

import (
	"errors"
	"maps"
	"slices"

	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The instrumentation scope of all spans and metrics.
const (
	scopeName    = "vgi_rpc"
	scopeVersion = "0.1.0"
)

// Options configure the observers of this package. The zero value works, with the
// providers that are global in this process.
type Options struct {
	// TracerProvider makes the spans, MeterProvider the metrics. The global ones
	// when nil.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// NoTraces and NoMetrics leave out the one or the other.
	NoTraces, NoMetrics bool
	// Propagator carries a trace from one process to another. W3C Trace Context
	// and Baggage when nil.
	Propagator propagation.TextMapPropagator
	// ServerID is rpc.vgi_rpc.server_id of every span of a server: what
	// Server.ID returns. Left out when empty.
	ServerID string
	// Service is the service of those who are not let in, of whom nobody knows
	// what they would have called: the name of the primary protocol.
	Service string
	// NoExceptions leaves out the event with the type and the message of the
	// error of a call that failed, not the attributes that name its type and
	// code.
	NoExceptions bool
	// Attributes are put on every span and every metric of a server.
	Attributes map[string]string
	// ClaimAttributes put claims of the caller on spans, never on metrics: by
	// the name of the claim, the name of the attribute. Claims that are neither
	// text nor number nor truth value are left out.
	ClaimAttributes map[string]string
	// PeerIdentity returns what the providers of peer identities have found out
	// of a caller, in a few words that are safe as labels of metrics: the sorted
	// outcomes, "provider:status", and the sorted sources of what is known,
	// "provider:source:assurance"; "" for none. Nil without such providers.
	PeerIdentity func(vgirpc.Identity) (status, sources string)
}

// complete returns o with the defaults filled in, or says which option makes no
// sense.
func complete(o Options) (Options, error) {
	for claim, name := range o.ClaimAttributes {
		if claim == "" || name == "" {
			return o, errors.New("otel: option ClaimAttributes: want the name of a claim and that of an attribute, neither empty")
		}
	}
	for name := range o.Attributes {
		if name == "" {
			return o, errors.New("otel: option Attributes: an attribute without a name")
		}
	}
	if o.TracerProvider == nil {
		o.TracerProvider = api.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = api.GetMeterProvider()
	}
	if o.Propagator == nil {
		o.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	o.Attributes, o.ClaimAttributes = maps.Clone(o.Attributes), maps.Clone(o.ClaimAttributes)
	return o, nil
}

// tracer makes the spans, nil without any.
func (o *Options) tracer() trace.Tracer {
	if o.NoTraces {
		return nil
	}
	return o.TracerProvider.Tracer(scopeName, trace.WithInstrumentationVersion(scopeVersion))
}

// own are the attributes of Options.Attributes, sorted.
func (o *Options) own() []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, name := range slices.Sorted(maps.Keys(o.Attributes)) {
		out = append(out, attribute.String(name, o.Attributes[name]))
	}
	return out
}

// Names of attributes, of spans and of metrics.
const (
	keySystem        = "rpc.system"
	keyService       = "rpc.service"
	keyMethod        = "rpc.method"
	keyMethodType    = "rpc.vgi_rpc.method_type"
	keyServerID      = "rpc.vgi_rpc.server_id"
	keyPrincipal     = "rpc.vgi_rpc.auth.principal"
	keyDomain        = "rpc.vgi_rpc.auth.domain"
	keyAuthenticated = "rpc.vgi_rpc.auth.authenticated"
	keyClient        = "client.address"
	keyUserAgent     = "user_agent.original"
	keyPeerStatus    = "rpc.vgi_rpc.peer_identity.status"
	keyPeerSources   = "rpc.vgi_rpc.peer_identity.sources"
	keyErrorType     = "rpc.vgi_rpc.error_type"
	keyErrorCode     = "rpc.vgi_rpc.error_code"
	keyStatus        = "status"
	keyFailure       = "error.type"

	system = "vgi_rpc"
)

// methodAttributes are those of every span and metric of a method's calls.
func methodAttributes(m *vgirpc.Method) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(keySystem, system),
		attribute.String(keyService, m.Protocol().Name()),
		attribute.String(keyMethod, m.Name()),
		attribute.String(keyMethodType, string(m.Type())),
	}
}

// spanName is the name of the spans of a method's calls.
func spanName(m *vgirpc.Method) string { return "vgi_rpc/" + m.Name() }
