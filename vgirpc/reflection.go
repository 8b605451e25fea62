package vgirpc

import (
	"context"
	"strings"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ReflectionName is the protocol through which a server describes itself
// (WIRE_PROTOCOL section 14). Every server hosts it.
const ReflectionName = "vgi_rpc.Reflection.v1"

// ProtocolList is what a server hosts.
type ProtocolList struct {
	ServerID       string            `vgi:"server_id"`
	ServerVersion  string            `vgi:"server_version"`
	RequestVersion string            `vgi:"request_version"`
	Protocols      []ProtocolSummary `vgi:"protocols"`
}

// ProtocolSummary is one hosted protocol without its methods.
type ProtocolSummary struct {
	Protocol           string   `vgi:"protocol"`
	ProtocolVersion    string   `vgi:"protocol_version"`
	ProtocolHash       string   `vgi:"protocol_hash"`
	Deprecated         bool     `vgi:"deprecated"`
	DeprecationMessage string   `vgi:"deprecation_message"`
	Features           []string `vgi:"features"` // reserved: always empty
}

// ServiceDescription is one protocol with its methods.
type ServiceDescription struct {
	Protocol           string       `vgi:"protocol"`
	ProtocolVersion    string       `vgi:"protocol_version"`
	ProtocolHash       string       `vgi:"protocol_hash"`
	Deprecated         bool         `vgi:"deprecated"`
	DeprecationMessage string       `vgi:"deprecation_message"`
	Features           []string     `vgi:"features"` // reserved: always empty
	Methods            []MethodInfo `vgi:"methods"`  // by name
}

// MethodInfo is one method of a [ServiceDescription]. Schemas are serialized
// Arrow schemas; empty where there is none.
type MethodInfo struct {
	Name               string `vgi:"name"`
	MethodType         string `vgi:"method_type"`
	HasReturn          bool   `vgi:"has_return"`
	HasHeader          bool   `vgi:"has_header"`
	StreamKind         string `vgi:"stream_kind"`
	ParamsSchemaIPC    []byte `vgi:"params_schema_ipc"`
	ResultSchemaIPC    []byte `vgi:"result_schema_ipc"`
	HeaderSchemaIPC    []byte `vgi:"header_schema_ipc"`
	Idempotency        string `vgi:"idempotency,default=unknown"`
	Deprecated         bool   `vgi:"deprecated,default=false"`
	DeprecationMessage string `vgi:"deprecation_message,default="`
}

// DescribeParams are the parameters of Reflection's describe.
type DescribeParams struct {
	Protocol string `vgi:"protocol"`
}

// Reflection is the contract of [ReflectionName], for clients; a server hosts a
// copy of its own.
type Reflection struct {
	Protocol      *Protocol
	ListProtocols *Unary[None, ProtocolList]
	Describe      *Unary[DescribeParams, ServiceDescription]
}

// NewReflection returns the reflection contract.
func NewReflection() *Reflection {
	p := newProtocol(ReflectionName, "")
	p.exempt = true
	return &Reflection{
		Protocol:      p,
		ListProtocols: NewUnary[None, ProtocolList](p, "list_protocols", MethodOptions{Idempotency: NoSideEffects}),
		Describe:      NewUnary[DescribeParams, ServiceDescription](p, "describe", MethodOptions{Idempotency: NoSideEffects}),
	}
}

// hostReflection hosts the reflection protocol beside the application's.
func (s *Server) hostReflection() error {
	r := NewReflection()
	if err := s.host(r.Protocol); err != nil {
		return err
	}
	HandleUnary(s, r.ListProtocols, func(context.Context, None) (ProtocolList, error) {
		list := ProtocolList{ServerID: s.ID(), ServerVersion: s.opts.Version, RequestVersion: wire.RequestVersion}
		for _, b := range s.order {
			list.Protocols = append(list.Protocols, b.summary())
		}
		return list, nil
	})
	HandleUnary(s, r.Describe, func(_ context.Context, p DescribeParams) (ServiceDescription, error) {
		b := s.bindings[p.Protocol]
		if b == nil {
			e := protocolErrorf("ProtocolNotSupportedError", "no such protocol is hosted here; hosted: %s", s.protocolNames())
			return ServiceDescription{}, e.unimplemented(KindProtocolNotSupported)
		}
		return b.describe(), nil
	})
	return nil
}

func (b *binding) summary() ProtocolSummary {
	return ProtocolSummary{
		Protocol: b.protocol.name, ProtocolVersion: b.protocol.version, ProtocolHash: b.hash,
		Deprecated: b.protocol.info.Deprecated != "", DeprecationMessage: b.protocol.info.Deprecated,
		Features: []string{},
	}
}

func (b *binding) describe() ServiceDescription {
	s := b.summary()
	d := ServiceDescription{
		Protocol: s.Protocol, ProtocolVersion: s.ProtocolVersion, ProtocolHash: s.ProtocolHash,
		Deprecated: s.Deprecated, DeprecationMessage: s.DeprecationMessage, Features: s.Features,
	}
	for _, m := range b.protocol.Methods() {
		info := MethodInfo{
			Name: m.name, MethodType: string(m.Type()), HasReturn: m.HasReturn(), HasHeader: m.HasHeader(),
			StreamKind: string(m.kind), ParamsSchemaIPC: m.params.Schema().Message(),
			ResultSchemaIPC: schemaBytes(m.resultSchema()), HeaderSchemaIPC: schemaBytes(m.headerSchema()),
			Idempotency: string(m.options.Idempotency), Deprecated: m.options.Deprecated != "",
			DeprecationMessage: strings.TrimSpace(m.options.Deprecated),
		}
		if info.Idempotency == "" {
			info.Idempotency = string(IdempotencyUnknown)
		}
		d.Methods = append(d.Methods, info)
	}
	return d
}

func schemaBytes(s *wire.Schema) []byte {
	if s == nil {
		return []byte{}
	}
	return s.Message()
}
