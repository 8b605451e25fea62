package localstore_test

import (
	"fmt"
	"strings"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/localstore"
)

// Storage in memory, which the program serves itself. Other machines need a
// BaseURL that they can reach.
func Example() {
	store, err := localstore.Start("127.0.0.1:0", localstore.Options{URL: "mem://"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	// The store's own origin may be fetched from without being named.
	offload, err := external.New(external.Options{Store: store, Compression: external.Zstd})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer offload.Close()
	fmt.Println(strings.HasPrefix(store.Origins()[0], "http://127.0.0.1:"))
	// Output: true
}
