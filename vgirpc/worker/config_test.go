package worker_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// everyKind is an option with a flag of every kind.
type everyKind struct {
	Text  string
	Whole int
	Share float64
	On    bool
	List  []string
	IDs   []int
	Keys  []string
	Door  uint16
	Wait  time.Duration
	Link  string

	flags *pflag.FlagSet
}

func (o *everyKind) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.Text, "kind-text", "fallback", "")
	flags.IntVar(&o.Whole, "kind-whole", 0, "")
	flags.Float64Var(&o.Share, "kind-share", 0, "")
	flags.BoolVar(&o.On, "kind-on", false, "")
	flags.StringArrayVar(&o.List, "kind-list", nil, "")
	flags.IntSliceVar(&o.IDs, "kind-ids", nil, "")
	flags.StringArrayVar(&o.Keys, "kind-key", nil, "")
	worker.Secret(flags, "kind-key")
	flags.Uint16Var(&o.Door, "kind-door", 1, "")
	worker.OptionalValue(flags, "kind-door", "7")
	flags.DurationVar(&o.Wait, "kind-wait", 0, "")
	flags.StringVar(&o.Link, "kind-link", "", "")
	worker.AlsoEnvironment(flags, "kind-link", "ELSEWHERE_LINK")
}

func (o *everyKind) Apply(context.Context, *worker.Setup) error {
	if o.Text == "refused" {
		return errors.New("--kind-text: want another text")
	}
	return nil
}

// sources are what a worker is configured by.
type sources struct {
	args string
	env  []string
	file string
}

// configured reads sources as Run does, short of serving.
func configured(t *testing.T, src sources) (*everyKind, *worker.Setup, error) {
	t.Helper()
	args := strings.Fields(src.args)
	if src.file != "" {
		args = append(args, "--config", write(t, "worker.yaml", src.file))
	}
	o := &everyKind{}
	program := vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{FirstByteTimeout: 3 * time.Second, MaxFiles: -1}}
	setup, err := worker.Configure(t, newServer(t, program), args, src.env, o)
	o.flags = nil
	return o, setup, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryFlagCanBeSetFromEverywhere(t *testing.T) {
	secret := write(t, "secret", "k1,k2 # and more\nk3 \n\n")
	all := &everyKind{
		Text: "a b", Whole: 12, Share: 0.5, On: true, List: []string{"x", "y=1"}, IDs: []int{3, 4}, Keys: []string{"k"},
		Door: 99, Wait: time.Minute, Link: "l",
	}
	for _, tt := range []struct {
		name string
		sources
		want *everyKind
	}{
		{"nothing sets anything", sources{}, &everyKind{Text: "fallback", Door: 1}},
		{"the environment sets all kinds", sources{env: []string{
			"VGI_RPC_KIND_TEXT=a b", "VGI_RPC_KIND_WHOLE=12", "VGI_RPC_KIND_SHARE=.5", "VGI_RPC_KIND_ON=true", "VGI_RPC_KIND_LIST=x, y=1",
			"VGI_RPC_KIND_IDS=3,4", "VGI_RPC_KIND_KEY=k", "VGI_RPC_KIND_DOOR=99", "VGI_RPC_KIND_WAIT=60s", "VGI_RPC_KIND_LINK=l",
		}}, all},
		{"a file sets all kinds", sources{file: `
kind-text: a b
kind-whole: 12
kind-share: 0.5
kind-on: true
kind-list: [x, y=1]
kind-ids:
  - 3
  - 4
kind-key: "k"
kind-door: 99
kind-wait: 1m
kind-link: l
`}, all},
		{"a file has sections", sources{file: `kind: {text: a b, whole: 12, share: 0.5, "on": true, list: [x, y=1], ids: [3, 4], key: k, door: 99, wait: 1m, link: l}`}, all},
		{
			"a file is JSON",
			sources{file: `{"kind-text": "a b", "kind-whole": 12, "kind": {"on": true}, "kind-list": ["x", "y=1"]}`},
			&everyKind{Text: "a b", Whole: 12, On: true, List: []string{"x", "y=1"}, Door: 1},
		},
		{"a file has nothing but comments", sources{file: "# later\n"}, &everyKind{Text: "fallback", Door: 1}},
		{"a list of one in a file", sources{file: "kind-list: x"}, &everyKind{Text: "fallback", List: []string{"x"}, Door: 1}},
		{
			"the command line goes before the environment, and that before the file",
			sources{"--kind-text=line", []string{"VGI_RPC_KIND_TEXT=env", "VGI_RPC_KIND_WHOLE=2"}, "kind-text: file\nkind-whole: 3\nkind-link: file\n"},
			&everyKind{Text: "line", Whole: 2, Link: "file", Door: 1},
		},
		{
			"a list is taken whole from one place",
			sources{"--kind-list=a", []string{"VGI_RPC_KIND_LIST=b,c"}, "kind-list: [d]"},
			&everyKind{Text: "fallback", List: []string{"a"}, Door: 1},
		},
		{"an empty variable says nothing", sources{env: []string{"VGI_RPC_KIND_TEXT="}, file: "kind-text: file"}, &everyKind{Text: "file", Door: 1}},
		{"a second variable of a flag", sources{env: []string{"ELSEWHERE_LINK=other"}}, &everyKind{Text: "fallback", Link: "other", Door: 1}},
		{
			"the variable of a flag's name before its second one",
			sources{env: []string{"ELSEWHERE_LINK=other", "VGI_RPC_KIND_LINK=own"}},
			&everyKind{Text: "fallback", Link: "own", Door: 1},
		},
		{"a flag that may stand alone is true in a file", sources{file: "kind-door: true"}, &everyKind{Text: "fallback", Door: 7}},
		{"and false is as if it was not there", sources{env: []string{"VGI_RPC_KIND_DOOR=false"}}, &everyKind{Text: "fallback", Door: 1}},
		{
			"a secret comes from a file as it stands there, but for space at its end",
			sources{args: "--kind-key-file " + secret},
			&everyKind{Text: "fallback", Keys: []string{"k1,k2 # and more\nk3"}, Door: 1},
		},
		{
			"the path of a secret is in the environment",
			sources{env: []string{"VGI_RPC_KIND_KEY_FILE=" + secret}},
			&everyKind{Text: "fallback", Keys: []string{"k1,k2 # and more\nk3"}, Door: 1},
		},
		{
			"the path of a secret is in the configuration file",
			sources{file: "kind-key-file: " + secret},
			&everyKind{Text: "fallback", Keys: []string{"k1,k2 # and more\nk3"}, Door: 1},
		},
		{
			"a secret on the command line goes before a path in the environment",
			sources{"--kind-key mine", []string{"VGI_RPC_KIND_KEY_FILE=/nowhere"}, ""},
			&everyKind{Text: "fallback", Keys: []string{"mine"}, Door: 1},
		},
		{
			"a path on the command line goes before a secret in the environment",
			sources{"--kind-key-file " + secret, []string{"VGI_RPC_KIND_KEY=mine"}, ""},
			&everyKind{Text: "fallback", Keys: []string{"k1,k2 # and more\nk3"}, Door: 1},
		},
		{"a secret in the environment may hold commas", sources{env: []string{"VGI_RPC_KIND_KEY=a,b"}}, &everyKind{Text: "fallback", Keys: []string{"a,b"}, Door: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := configured(t, tt.sources)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(everyKind{}), cmp.Comparer(func(a, b *pflag.FlagSet) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMistakeIsNamedWithItsPlace(t *testing.T) {
	const hidden = "s3cret"
	for _, tt := range []struct {
		name string
		sources
		want []string
	}{
		{"a word for a number in the environment", sources{env: []string{"VGI_RPC_KIND_WHOLE=many"}}, []string{"VGI_RPC_KIND_WHOLE (--kind-whole)", `"many"`, "want a whole number"}},
		{"a word for a number in a file", sources{file: "\nkind-whole: many"}, []string{"worker.yaml:2: kind-whole (--kind-whole)", `"many"`, "want a whole number"}},
		{"a word for a number on the command line", sources{args: "--kind-whole many"}, []string{`--kind-whole: "many"`, "want a whole number"}},
		{"a word for a switch", sources{env: []string{"VGI_RPC_KIND_ON=perhaps"}}, []string{"VGI_RPC_KIND_ON", `"perhaps"`, "want true or false"}},
		{"a number for a time", sources{file: "kind-wait: 5"}, []string{"kind-wait", `"5"`, "want a time such as 1m30s"}},
		{"a port that is none", sources{env: []string{"VGI_RPC_KIND_DOOR=70000"}}, []string{"VGI_RPC_KIND_DOOR", "from 0 to 65535"}},
		{"a level that is none", sources{env: []string{"VGI_RPC_LOG_LEVEL=loud"}}, []string{"VGI_RPC_LOG_LEVEL", `"loud"`, "want debug, info, warn or error"}},
		{"what Kubernetes sets for a service", sources{env: []string{"VGI_RPC_KIND_DOOR=tcp://10.0.0.1:80"}}, []string{"enableServiceLinks"}},
		{"a list for one value", sources{file: "kind-whole: [1, 2]"}, []string{"worker.yaml:1: kind-whole: want one value"}},
		{"a setting without a value", sources{file: "kind-text:"}, []string{"worker.yaml:1: kind-text", "want a value"}},
		{"a setting that nobody knows", sources{file: "a: 1\nkind:\n  none: 1"}, []string{"worker.yaml:1: a: this worker has no such setting", "worker.yaml:3: kind-none: this worker has no such setting"}},
		{"a setting that makes sense on the command line alone", sources{file: "check: true"}, []string{"check: this worker has no such setting"}},
		{"a setting that is there twice", sources{file: "kind-text: a\nkind: {text: b}"}, []string{"worker.yaml:2: kind-text: it is there already", "worker.yaml:1"}},
		{"a list for a file", sources{file: "- a"}, []string{"worker.yaml:1", "want names of flags"}},
		{"a file that is no YAML", sources{file: "a: [\n"}, []string{"--config", "worker.yaml"}},
		{"a file with more than one document", sources{file: "kind-text: a\n---\nkind-on: true\n"}, []string{"--config", "worker.yaml:2: another document", "all settings in one"}},
		{"a file with something wrong behind the end", sources{file: "kind-text: a\n---\na: [\n"}, []string{"--config", "worker.yaml"}},
		{"a file that is not there", sources{args: "--config /nowhere/x.yaml"}, []string{"--config", "/nowhere/x.yaml"}},
		{"a file that the environment names and that is not there", sources{env: []string{"VGI_RPC_CONFIG=/nowhere/y.yaml"}}, []string{"/nowhere/y.yaml"}},
		{"no file", sources{args: "--config="}, []string{"--config: want a path"}},
		{"a secret's file that is not there", sources{env: []string{"VGI_RPC_KIND_KEY_FILE=/nowhere/k"}}, []string{"VGI_RPC_KIND_KEY_FILE", "/nowhere/k"}},
		{"a secret twice on the command line", sources{args: "--kind-key " + hidden + " --kind-key-file x"}, []string{"--kind-key and --kind-key-file exclude each other"}},
		{"a secret twice in the environment", sources{env: []string{"VGI_RPC_KIND_KEY=" + hidden, "VGI_RPC_KIND_KEY_FILE=x"}}, []string{"VGI_RPC_KIND_KEY and VGI_RPC_KIND_KEY_FILE exclude each other"}},
		{"what an option refuses of a file", sources{file: "\n\nkind-text: refused"}, []string{"--kind-text: want another text", "--kind-text is set by", "worker.yaml:3"}},
		{"what an option refuses of the environment", sources{env: []string{"VGI_RPC_KIND_TEXT=refused"}}, []string{"--kind-text is set by VGI_RPC_KIND_TEXT"}},
		{"what the limits refuse", sources{env: []string{"VGI_RPC_MAX_CONNECTIONS=0"}}, []string{"--max-connections 0: want at least 1", "VGI_RPC_MAX_CONNECTIONS"}},
		{"a size that is too large", sources{env: []string{"VGI_RPC_MAX_MESSAGE_BYTES=9999999999 GiB"}}, []string{"want a number of bytes"}},
		{"a size in a unit that there is not", sources{file: "max-message-bytes: 1 MB"}, []string{`"1 MB"`, "want a number of bytes"}},
		{"several mistakes at once", sources{env: []string{"VGI_RPC_KIND_WHOLE=many"}, file: "kind-on: perhaps"}, []string{"VGI_RPC_KIND_WHOLE", "worker.yaml:1: kind-on"}},
		{"two transports in one place", sources{env: []string{"VGI_RPC_UNIX=/tmp/x", "VGI_RPC_TCP=0"}}, []string{"--unix and --tcp exclude each other"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := configured(t, tt.sources)
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it says\n%v\nand not %q", err, want)
				}
			}
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("it tells a secret: %v", err)
			}
		})
	}
}

// secretNumber is a secret that can be wrong.
type secretNumber struct{ everyKind }

func (o *secretNumber) AddFlags(flags *pflag.FlagSet) {
	flags.Int("secret-number", 0, "")
	worker.Secret(flags, "secret-number")
}

func TestASecretThatIsWrongIsNotShown(t *testing.T) {
	path := write(t, "number", "sesame")
	for _, src := range []sources{
		{args: "--secret-number sesame"},
		{args: "--secret-number-file " + path},
		{env: []string{"VGI_RPC_SECRET_NUMBER=sesame"}},
		{args: "--config " + write(t, "c.yaml", "secret-number: sesame")},
	} {
		_, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), strings.Fields(src.args), src.env, &secretNumber{})
		var wrong *worker.SettingError
		if !errors.As(err, &wrong) || !wrong.Secret || wrong.Flag != "secret-number" || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%+v: %v", src, err)
		}
	}
}

func TestOneTransportIsChosenByTheStrongerSource(t *testing.T) {
	for _, tt := range []struct {
		name string
		sources
		want string
	}{
		{"the command line before the environment", sources{args: "--tcp 0", env: []string{"VGI_RPC_UNIX=/tmp/x"}}, "--tcp"},
		{"whatever the order", sources{args: "--unix /tmp/x", env: []string{"VGI_RPC_TCP=0"}}, "--unix"},
		{"the environment before the file", sources{env: []string{"VGI_RPC_UNIX=/tmp/x"}, file: "tcp: 0"}, "--unix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, setup, err := configured(t, tt.sources)
			if err != nil {
				t.Fatal(err)
			}
			if got := worker.ChosenBy(setup); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestWhatIsPrintedIsAFileThatSaysTheSame(t *testing.T) {
	src := sources{
		args: "--kind-list=x --kind-list=y=1 --kind-door --idle-timeout 0",
		env:  []string{"VGI_RPC_KIND_KEY=s3cret", "VGI_RPC_KIND_TEXT=it's \"so\" # far", "VGI_RPC_KIND_LINK=https://me:s3cret@host/x", "VGI_RPC_UNIX_MODE=0660"},
		file: "kind-ids: [3]\nmax-connections: 7\nmax-schema-bytes: 2 GiB\ndrain-timeout: never\n",
	}
	before, setup, err := configured(t, src)
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := worker.PrintConfig(setup, &printed); err != nil {
		t.Fatal(err)
	}
	text := printed.String()
	for _, want := range []string{
		"# kind-key: hidden, from VGI_RPC_KIND_KEY\n", "# kind-link: hidden, from VGI_RPC_KIND_LINK\n",
		"kind-list: # --kind-list\n  - \"x\"\n", "kind-door: 7 # --kind-door\n", "unix-mode: 0660 # VGI_RPC_UNIX_MODE\n", "idle-timeout: 0 # --idle-timeout\n",
		"worker.yaml:2: max-connections\n", "# unix: # default\n", "# max-message-bytes: \"256 MiB\" # default\n", "# first-byte-timeout: 3 # default\n", "# max-files: 0 # default\n",
		"# log-level: \"info\" # default\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "s3cret") || strings.Contains(text, "print-config") {
		t.Errorf("it tells too much:\n%s", text)
	}
	after, again, err := configured(t, sources{file: text})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	before.Keys, before.Link = nil, ""
	if diff := cmp.Diff(before, after, cmp.AllowUnexported(everyKind{}), cmp.Comparer(func(a, b *pflag.FlagSet) bool { return a == b })); diff != "" {
		t.Errorf("the file means something else (-want +got):\n%s\n%s", diff, text)
	}
	var values, reread []worker.Setting
	for _, s := range setup.Configuration() {
		if !s.Hidden {
			values = append(values, worker.Setting{Name: s.Name, Values: s.Values})
		}
	}
	for _, s := range again.Configuration() {
		if s.Name != "kind-key" && s.Name != "kind-link" {
			reread = append(reread, worker.Setting{Name: s.Name, Values: s.Values})
		}
	}
	if diff := cmp.Diff(values, reread); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestVariablesThatNothingReadsAreToldOf(t *testing.T) {
	_, setup, err := configured(t, sources{env: []string{
		"VGI_RPC_KIND_TXT=a", "VGI_RPC_SHM_MIN_BATCH_BYTES=1", "VGI_RPC_CONFIG=", "VGI_RPCX=1", "ELSEWHERE_X=1", "VGI_RPC_KIND_TEXT=b",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"VGI_RPC_KIND_TXT"}, worker.UnknownVariables(setup)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheDocumentationNamesEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range setup.Configuration() {
		if !strings.HasPrefix(s.Name, "access-log-") && !strings.HasPrefix(s.Name, "request-log-") && !strings.Contains(string(text), "| `--"+s.Name+"` |") {
			t.Errorf("docs/configuration.md does not tell of --%s", s.Name)
		}
	}
}
