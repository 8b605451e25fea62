package gcsstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob/gcsblob"
	"google.golang.org/api/option"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
	"github.com/vgirpc/vgirpc-go/external/internal/server"
	"github.com/vgirpc/vgirpc-go/external/storetest"
)

const (
	bucketName = "batches"
	accountID  = "signer@test.iam.gserviceaccount.com"
)

// privateKey is a key that nobody else has.
var privateKey = sync.OnceValues(func() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
})

func keyFile(t *testing.T) string {
	t.Helper()
	key, err := privateKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startServer starts an emulator of the whole service with one bucket.
func startServer(t *testing.T) (endpoint string) {
	t.Helper()
	binary := server.Find(t, "bin/fake-gcs-server")
	ports := server.Start(t, server.Server{Ports: 1, Status: http.StatusOK, Command: func(ports []int) (*exec.Cmd, string) {
		address := server.Address(ports[0])
		return exec.Command(binary, "-scheme", "http", "-host", "127.0.0.1", "-port", strconv.Itoa(ports[0]), "-backend", "memory",
			"-external-url", "http://"+address, "-public-host", address, "-log-level", "error"), "http://" + address + "/_internal/healthcheck"
	}})
	endpoint = "http://" + server.Address(ports[0])
	send(t, http.MethodPost, endpoint+"/storage/v1/b?project=test", []byte(`{"name": "`+bucketName+`"}`), "")
	return endpoint
}

func send(t *testing.T, method, to string, body []byte, encoding string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", blobstore.ContentType)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		t.Fatalf("status %d: %s", resp.StatusCode, answer)
	}
}

func bucketURL(endpoint, key string) string {
	return "gs://" + bucketName + "?" +
		url.Values{"endpoint": {endpoint}, "access_id": {accountID}, "private_key_path": {key}}.Encode()
}

func open(t *testing.T, bucketURL string, opts blobstore.Options) blobstore.UploadStore {
	t.Helper()
	s, err := Open(t.Context(), bucketURL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAnEmulator(t *testing.T) {
	endpoint, key := startServer(t), keyFile(t)
	storetest.Run(t, storetest.Fixture{
		AnySeal: true,
		Open: func(t *testing.T, ttl time.Duration) external.Store {
			return open(t, bucketURL(endpoint, key), blobstore.Options{TTL: ttl})
		},
		Replace: func(t *testing.T, objectURL string, data []byte) {
			u, err := url.Parse(objectURL)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(u.Path, "/"+bucketName+"/")
			if data == nil {
				send(t, http.MethodDelete, endpoint+"/storage/v1/b/"+bucketName+"/o/"+url.PathEscape(name), nil, "")
				return
			}
			send(t, http.MethodPost, endpoint+"/upload/storage/v1/b/"+bucketName+"/o?uploadType=media&name="+url.QueryEscape(name), data, "")
		},
	})
	t.Run("no such bucket", func(t *testing.T) {
		s := open(t, strings.Replace(bucketURL(endpoint, key), bucketName, "other", 1), blobstore.Options{})
		if _, err := s.Upload(t.Context(), []byte("x"), ""); err == nil || strings.Contains(err.Error(), "Signature=") {
			t.Errorf("got %v", err)
		}
	})
}

func TestURLsAreSignedForOneMethodAndOneType(t *testing.T) {
	key, err := privateKey()
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": accountID, "private_key": string(key), "private_key_id": "1",
		"token_uri": "http://127.0.0.1:1/", "project_id": "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, credentials, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	s := open(t, "gs://"+bucketName, blobstore.Options{TTL: 90 * time.Second})
	place, err := s.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for signed, headers := range map[string]string{place.Upload: "content-type;host", place.Download: "host"} {
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Scheme != "https" || u.Host != "storage.googleapis.com" || !strings.HasPrefix(u.Path, "/"+bucketName+"/vgirpc/in/") ||
			q.Get("X-Goog-Algorithm") != "GOOG4-RSA-SHA256" || q.Get("X-Goog-SignedHeaders") != headers ||
			(q.Get("X-Goog-Expires") != "90" && q.Get("X-Goog-Expires") != "89") || !strings.HasPrefix(q.Get("X-Goog-Credential"), accountID) {
			t.Errorf("%s: %v", external.Redact(signed), q)
		}
	}
	if got := s.Origins(); len(got) != 1 || got[0] != "https://storage.googleapis.com:443" {
		t.Errorf("origins %q", got)
	}
}

func TestIAMSignsWhereThereIsNoKey(t *testing.T) {
	var asked string
	iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Payload string `json:"payload"`
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		payload, _ := base64.StdEncoding.DecodeString(body.Payload)
		asked = r.URL.Path + " " + string(payload)
		if string(payload) == "refuse" {
			http.Error(w, `{"error": {"code": 403, "message": "no"}}`, http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"signedBlob": base64.StdEncoding.EncodeToString([]byte("signature"))})
	}))
	defer iam.Close()
	sign, err := iamSigner(t.Context(), accountID, option.WithEndpoint(iam.URL), option.WithHTTPClient(iam.Client()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := sign(t.Context())([]byte("payload"))
	if err != nil || string(got) != "signature" || asked != "/v1/projects/-/serviceAccounts/"+accountID+":signBlob payload" {
		t.Errorf("got %q, %v; it was asked %q", got, err, asked)
	}
	if _, err := sign(t.Context())([]byte("refuse")); err == nil {
		t.Error("a refusal is no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sign(ended)([]byte("payload")); err == nil {
		t.Error("it signs after the end of the context")
	}
}

func TestWhoSigns(t *testing.T) {
	const email, key = "own@test.iam.gserviceaccount.com", "own key"
	credentials := []byte(`{"client_email": "` + email + `", "private_key": "` + key + `"}`)
	t.Setenv("GCE_METADATA_HOST", "") // this is not one of Google's machines
	for _, tt := range []struct {
		name        string
		opts        gcsblob.Options
		credentials []byte
		id, key     string
		iam         bool
	}{
		{"the account of the credentials", gcsblob.Options{}, credentials, email, key, false},
		{"whoever the URL names", gcsblob.Options{GoogleAccessID: "other", PrivateKey: []byte("k")}, credentials, "other", "k", false},
		{"whoever the URL names, without a key", gcsblob.Options{GoogleAccessID: "other"}, credentials, "other", "", true},
		{"the same one, named", gcsblob.Options{GoogleAccessID: email}, credentials, email, key, false},
		{"credentials without a key", gcsblob.Options{GoogleAccessID: "other"}, []byte(`{"type": "authorized_user"}`), "other", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := findSigner(t.Context(), &tt.opts, tt.credentials, http.DefaultClient); err != nil {
				t.Fatal(err)
			}
			if tt.opts.GoogleAccessID != tt.id || string(tt.opts.PrivateKey) != tt.key || (tt.opts.MakeSignBytes != nil) != tt.iam {
				t.Errorf("%s signs with %q, or by IAM: %v", tt.opts.GoogleAccessID, tt.opts.PrivateKey, tt.opts.MakeSignBytes != nil)
			}
		})
	}
}

func TestWhatIsNoBucketIsRefused(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	for name, u := range map[string]string{
		"another scheme":            "s3://bucket",
		"no bucket":                 "gs://",
		"a path":                    "gs://bucket/path",
		"a user":                    "gs://user:pw@bucket",
		"an unknown parameter":      "gs://bucket?speed=high",
		"no URL":                    "gs://%zz",
		"an endpoint that is none":  "gs://bucket?endpoint=here&access_id=a&private_key_path=b",
		"an endpoint and no key":    "gs://bucket?endpoint=http://127.0.0.1&access_id=a",
		"a key that is not there":   "gs://bucket?endpoint=http://127.0.0.1&access_id=a&private_key_path=/nowhere/key",
		"credentials that are gone": "gs://bucket",
		"a key that is not a key":   "gs://bucket?endpoint=http://127.0.0.1&access_id=a&private_key_path=" + os.DevNull,
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Open(t.Context(), u, blobstore.Options{}); err == nil {
				_ = s.Close()
				t.Error("it is a bucket")
			}
		})
	}
}
