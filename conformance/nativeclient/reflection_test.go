package nativeclient_test

import (
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// testReflection asks the server for the contract, and compares it with this one.
func testReflection(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	ctx := t.Context()
	hash, err := service.Hash()
	noError(t, err)
	t.Run("reflection lists the protocol, with the hash of this contract and the server's identifier", func(t *testing.T) {
		list, err := c.Describe(ctx)
		noError(t, err)
		equal(t, []string{list.ServerID, list.RequestVersion}, []string{"client-worker", wire.RequestVersion})
		found := false
		for _, p := range list.Protocols {
			if p.Protocol == service.Name() {
				found = true
				equal(t, []any{p.ProtocolVersion, p.ProtocolHash, len(p.ProtocolHash)}, []any{"", hash, 64})
			}
		}
		equal(t, found, true)
	})
	t.Run("reflection describes each method's shape, and every schema can be read", func(t *testing.T) {
		d, err := vgirpc.NewReflection().Describe.Call(ctx, c, vgirpc.DescribeParams{Protocol: service.Name()})
		noError(t, err)
		equal(t, []string{d.Protocol, d.ProtocolHash}, []string{service.Name(), hash})
		equal(t, len(d.Methods), len(service.Methods()))
		var schemas wire.SchemaCache
		for i, m := range service.Methods() {
			info := d.Methods[i]
			equal(t, []any{info.Name, info.MethodType, info.StreamKind, info.HasReturn, info.HasHeader},
				[]any{m.Name(), string(m.Type()), string(m.Kind()), m.HasReturn(), false})
			params, err := schemas.Parse(info.ParamsSchemaIPC)
			noError(t, err)
			sameSchema(t, params, m.ParamsSchema().Arrow())
			equal(t, len(info.ResultSchemaIPC) > 0, m.HasReturn())
			if m.HasReturn() {
				result, err := schemas.Parse(info.ResultSchemaIPC)
				noError(t, err)
				sameSchema(t, result, m.ResultSchema().Arrow())
			}
			equal(t, len(info.HeaderSchemaIPC), 0)
		}
	})
	t.Run("the kinds of streams are the declared ones", func(t *testing.T) {
		p, err := c.Discover(ctx, service.Name())
		noError(t, err)
		kinds := map[string]vgirpc.StreamKind{}
		for _, m := range p.Methods() {
			if m.Kind() != vgirpc.KindUnary {
				kinds[m.Name()] = m.Kind()
			}
		}
		equal(t, kinds, map[string]vgirpc.StreamKind{
			"typed_exchange": vgirpc.KindExchange, "producer_sequence": vgirpc.KindProducer, "producer_empty": vgirpc.KindProducer,
			"producer_emit_and_finish": vgirpc.KindProducer, "producer_zero_row_then_value": vgirpc.KindProducer,
		})
	})
}
