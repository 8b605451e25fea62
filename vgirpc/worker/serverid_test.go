package worker_test

import (
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

func TestAnOperatorNamesTheServer(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"not at all", nil, "the program's"},
		{"in place of the program", []string{"--server-id", "worker-7.blue"}, "worker-7.blue"},
		{"with as many characters as there may be", []string{"--server-id", strings.Repeat("i", 128)}, strings.Repeat("i", 128)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{ServerID: "the program's"}), tt.args...)
			if err != nil || opts.ServerID != tt.want {
				t.Errorf("%q, %v, want %q", opts.ServerID, err, tt.want)
			}
		})
	}
	for name, id := range map[string]string{
		"nothing": "", "a space": "a b", "a path": "a/b", "a directory": "..", "a line": "a\n", "no ASCII": "ä", "too much": strings.Repeat("i", 129),
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{}), "--server-id="+id)
			if err == nil || !strings.HasPrefix(err.Error(), "--server-id ") {
				t.Errorf("error %v", err)
			}
		})
	}
}
