package worker

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// trustedProxy is the flag of the addresses whose headers are believed.
const trustedProxy = "trusted-proxy"

// proxyUses is the annotation of what that flag is for.
const proxyUses = "vgirpc.worker/proxy-uses"

// TrustedProxies declares --trusted-proxy, which options share: its addresses are
// the only ones that are believed what they say about callers. uses are the flags
// of the option that make it do so. Whatever order the options have, the flag is
// declared once.
func TrustedProxies(flags *pflag.FlagSet, uses ...string) {
	flag := flags.Lookup(trustedProxy)
	if flag == nil {
		flags.StringArray(trustedProxy, nil, "`ADDR` of a proxy that is believed what it says about callers, an IP address or unix; may be repeated")
		flag = flags.Lookup(trustedProxy)
	}
	annotate(flag, proxyUses, append(flag.Annotations[proxyUses], uses...)...)
}

// TrustedProxiesOf are the addresses of --trusted-proxy. It is an error when some
// were given and none of the flags that make use of them.
func TrustedProxiesOf(flags *pflag.FlagSet) ([]string, error) {
	list, err := flags.GetStringArray(trustedProxy)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	uses := flags.Lookup(trustedProxy).Annotations[proxyUses]
	for _, name := range uses {
		if use := flags.Lookup(name); use != nil && use.Changed && use.Value.String() != "false" {
			return list, nil
		}
	}
	return nil, fmt.Errorf("--%s is nothing without --%s", trustedProxy, strings.Join(uses, " or --"))
}
