package azurestore

import (
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
	"github.com/vgirpc/vgirpc-go/external/internal/server"
	"github.com/vgirpc/vgirpc-go/external/storetest"
)

// The account that the emulator is documented to have.
const (
	account    = "devstoreaccount1"
	accountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	name       = "batches"
)

// startServer starts Azurite, which verifies signatures, with one container.
func startServer(t *testing.T) (address string, direct *blob.Bucket) {
	t.Helper()
	script := server.Find(t, "npm/node_modules/azurite/dist/src/blob/main.js")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ports := server.Start(t, server.Server{Ports: 1, Status: http.StatusForbidden, Command: func(ports []int) (*exec.Cmd, string) {
		cmd := exec.Command(node, script, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence",
			"--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(ports[0]))
		cmd.Dir = dir
		return cmd, "http://" + server.Address(ports[0]) + "/" + account + "?comp=list"
	}})
	address = server.Address(ports[0])

	key, err := azblob.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential("http://"+address+"/"+account+"/"+name, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if direct, err = azureblob.OpenBucket(t.Context(), client, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Close() })
	return address, direct
}

func containerURL(address, container string) string {
	return "azblob://" + container + "?" + url.Values{"protocol": {"http"}, "domain": {address}, "localemu": {"true"}}.Encode()
}

func setCredentials(t *testing.T, account, key string) {
	t.Helper()
	for _, name := range []string{"AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING", "AZURE_STORAGE_DOMAIN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AZURE_STORAGE_ACCOUNT", account)
	t.Setenv("AZURE_STORAGE_KEY", key)
}

func open(t *testing.T, containerURL string, opts blobstore.Options) *blobstore.Store {
	t.Helper()
	s, err := Open(t.Context(), containerURL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAServerThatVerifiesSignatures(t *testing.T) {
	address, direct := startServer(t)
	setCredentials(t, account, accountKey)
	storetest.Run(t, storetest.Fixture{
		Open: func(t *testing.T, ttl time.Duration) external.Store {
			return open(t, containerURL(address, name), blobstore.Options{TTL: ttl})
		},
		Replace: func(t *testing.T, objectURL string, data []byte) {
			u, err := url.Parse(objectURL)
			if err != nil {
				t.Fatal(err)
			}
			key := strings.TrimPrefix(u.Path, "/"+account+"/"+name+"/")
			if data == nil {
				err = direct.Delete(t.Context(), key)
			} else {
				err = direct.WriteAll(t.Context(), key, data, &blob.WriterOptions{ContentType: blobstore.ContentType})
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	})

	t.Run("an upload that is refused keeps its secrets", func(t *testing.T) {
		const wrong = "d3Jvbmcta2V5LXRoYXQtb3BlbnMtbm90aGluZw=="
		for name, tt := range map[string]struct{ account, key, container string }{
			"a wrong key":       {account, wrong, name},
			"an unknown one":    {"nobody", wrong, name},
			"no such container": {account, accountKey, "other"},
		} {
			t.Run(name, func(t *testing.T) {
				setCredentials(t, tt.account, tt.key)
				s := open(t, containerURL(address, tt.container), blobstore.Options{})
				_, err := s.Upload(t.Context(), []byte("x"), "")
				if err == nil || strings.Contains(err.Error(), "sig=") || strings.Contains(err.Error(), tt.key) {
					t.Errorf("got %v", err)
				}
			})
		}
	})
}

func TestWhatCannotSignIsRefused(t *testing.T) {
	t.Run("no key", func(t *testing.T) {
		setCredentials(t, "", "")
		t.Setenv("AZURE_STORAGE_ACCOUNT", account)
		if s, err := Open(t.Context(), "azblob://batches", blobstore.Options{}); err == nil {
			_ = s.Close()
			t.Error("it signs without a key")
		}
	})
	t.Run("a token that is signed already", func(t *testing.T) {
		setCredentials(t, "", "")
		t.Setenv("AZURE_STORAGE_ACCOUNT", account)
		t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2020&sig=c2VjcmV0")
		if s, err := Open(t.Context(), "azblob://batches", blobstore.Options{}); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			if s != nil {
				_ = s.Close()
			}
			t.Errorf("got %v", err)
		}
	})
	setCredentials(t, account, accountKey)
	for name, u := range map[string]string{
		"another scheme":       "s3://batches",
		"no container":         "azblob://",
		"a path":               "azblob://batches/path",
		"a user":               "azblob://user:pw@batches",
		"an unknown parameter": "azblob://batches?speed=high",
		"no URL":               "azblob://%zz",
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Open(t.Context(), u, blobstore.Options{}); err == nil {
				_ = s.Close()
				t.Error("it is a container")
			}
		})
	}
}

func TestUploadURLsAreNotOffered(t *testing.T) {
	setCredentials(t, account, accountKey)
	var s external.Store = open(t, "azblob://batches", blobstore.Options{})
	if _, ok := s.(external.UploadURLs); ok {
		t.Error("clients do not know how to use them")
	}
}

func TestAURLWorksFromTheStart(t *testing.T) {
	setCredentials(t, account, accountKey)
	s := open(t, "azblob://batches", blobstore.Options{})
	if got := s.Origins(); len(got) != 1 || got[0] != "https://"+account+".blob.core.windows.net:443" {
		t.Errorf("origins %q", got)
	}
	bucket, err := (&azureblob.URLOpener{
		MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: azureblob.ServiceURLOptions{AccountName: account},
	}).OpenBucketURL(t.Context(), &url.URL{Scheme: "azblob", Host: "batches"})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	signed, err := sign(bucket, http.MethodGet, "key", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Has("st") || q.Get("sp") != "r" || q.Get("se") == "" {
		t.Errorf("it starts at %q, ends at %q, and allows %q", q.Get("st"), q.Get("se"), q.Get("sp"))
	}
	if _, err := sign(bucket, http.MethodPut, "key", time.Hour); err == nil {
		t.Error("it signs a PUT")
	}
}
