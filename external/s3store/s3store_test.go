package s3store

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
	"github.com/vgirpc/vgirpc-go/external/internal/server"
	"github.com/vgirpc/vgirpc-go/external/storetest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

const (
	bucketName = "batches"
	accessKey  = "TESTACCESSKEY"
	secretKey  = "test-secret-key-that-opens-nothing"
	region     = "us-east-1"
)

// startServer starts SeaweedFS, which verifies signatures, with one bucket. It
// takes no writes, and answers none, when less of the disk is free than reserve.
func startServer(t *testing.T, reserve string) (endpoint string) {
	t.Helper()
	weed := server.Find(t, "venv/bin/weed")
	dir := t.TempDir()
	config := filepath.Join(dir, "s3.json")
	identities := fmt.Sprintf(`{"identities": [
		{"name": "t", "credentials": [{"accessKey": %q, "secretKey": %q}], "actions": ["Admin", "Read", "Write", "List"]},
		{"name": "reader", "credentials": [{"accessKey": "READER", "secretKey": "reader-secret"}], "actions": ["Read"]},
		{"name": "neighbour", "credentials": [{"accessKey": "NEIGHBOUR", "secretKey": "other-secret"}], "actions": ["Read:flat2", "Write:flat2"]}
	]}`, accessKey, secretKey)
	if err := os.WriteFile(config, []byte(identities), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := server.Start(t, server.Server{Ports: 8, Status: http.StatusOK, Command: func(ports []int) (*exec.Cmd, string) {
		args := []string{
			"-logtostderr", "server", "-dir=" + dir, "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
			"-master.telemetry=false", "-volume.max=10", "-volume.minFreeSpace=" + reserve, "-master.volumeSizeLimitMB=64",
			"-filer.localSocket=" + filepath.Join(dir, "filer.sock"), "-s3.localSocket=" + filepath.Join(dir, "s3.sock"), "-s3", "-s3.config=" + config,
			"-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
		}
		for i, name := range []string{"s3", "master", "volume", "filer"} {
			port, grpc := ports[2*i], ports[2*i+1]
			args = append(args, fmt.Sprintf("-%s.port=%d", name, port), fmt.Sprintf("-%s.port.grpc=%d", name, grpc))
			// It leaves these behind, and they cannot be put elsewhere.
			t.Cleanup(func() { _ = os.Remove(fmt.Sprintf("/tmp/seaweedfs-%s-grpc-%d.sock", name, grpc)) })
		}
		return exec.Command(weed, args...), "http://" + server.Address(ports[0]) + "/healthz"
	}})
	endpoint = "http://" + server.Address(ports[0])
	_, err := client(endpoint, accessKey, secretKey).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucketName)})
	if err != nil {
		t.Fatal(err)
	}
	return endpoint
}

func client(endpoint, key, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), UsePathStyle: true, Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
	})
}

// bucketURL is what a program would be given.
func bucketURL(endpoint, bucket string) string {
	return "s3://" + bucket + "?" + url.Values{"endpoint": {endpoint}, "use_path_style": {"true"}, "region": {region}}.Encode()
}

func setCredentials(t *testing.T, key, secret string) {
	t.Setenv("AWS_ACCESS_KEY_ID", key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
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

func TestAServerThatVerifiesSignatures(t *testing.T) {
	endpoint := startServer(t, "1MiB")
	setCredentials(t, accessKey, secretKey)
	direct, err := s3blob.OpenBucket(t.Context(), client(endpoint, accessKey, secretKey), bucketName, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()

	storetest.Run(t, storetest.Fixture{
		Open: func(t *testing.T, ttl time.Duration) external.Store {
			return open(t, bucketURL(endpoint, bucketName), blobstore.Options{TTL: ttl})
		},
		Replace: func(t *testing.T, objectURL string, data []byte) {
			u, err := url.Parse(objectURL)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, direct, strings.TrimPrefix(u.Path, "/"+bucketName+"/"), data)
		},
	})

	t.Run("an upload that is refused keeps its secrets", func(t *testing.T) {
		for name, tt := range map[string]struct{ key, secret, bucket string }{
			"a wrong secret":    {accessKey, "wrong", bucketName},
			"an unknown key":    {"NOBODY", "wrong", bucketName},
			"a reader":          {"READER", "reader-secret", bucketName},
			"a neighbour":       {"NEIGHBOUR", "other-secret", bucketName},
			"a reader's bucket": {"READER", "reader-secret", "other-bucket"},
		} {
			t.Run(name, func(t *testing.T) {
				setCredentials(t, tt.key, tt.secret)
				s := open(t, bucketURL(endpoint, tt.bucket), blobstore.Options{})
				_, err := s.Upload(t.Context(), []byte("x"), "")
				if err == nil || strings.Contains(err.Error(), "Signature=") || strings.Contains(err.Error(), tt.secret) {
					t.Errorf("got %v", err)
				}
			})
		}
	})

	t.Run("a reader's upload URL takes nothing", func(t *testing.T) {
		setCredentials(t, "READER", "reader-secret")
		place, err := open(t, bucketURL(endpoint, bucketName), blobstore.Options{}).NewUploadURL(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, place.Upload, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", blobstore.ContentType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

func replace(t *testing.T, bucket *blob.Bucket, key string, data []byte) {
	t.Helper()
	var err error
	if data == nil {
		err = bucket.Delete(context.Background(), key)
	} else {
		err = bucket.WriteAll(context.Background(), key, data, &blob.WriterOptions{ContentType: blobstore.ContentType})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFullServerDoesNotHoldACall(t *testing.T) {
	endpoint := startServer(t, "100") // per cent
	setCredentials(t, accessKey, secretKey)
	o, err := external.New(external.Options{
		Store: open(t, bucketURL(endpoint, bucketName), blobstore.Options{}), Threshold: 1, UploadTimeout: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Arrow())
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(1)
	data, err := wire.NewBatch(schema, b.NewRecordBatch(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = o.Place(t.Context(), schema, []wire.Batch{*data}, -1)
	if vgirpc.CodeOf(err) != vgirpc.Unavailable || !strings.Contains(err.Error(), "UploadTimeout is 3s") || strings.Contains(err.Error(), "Signature=") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNoBucketIsRefused(t *testing.T) {
	setCredentials(t, accessKey, secretKey)
	for name, u := range map[string]string{
		"another scheme":       "gs://bucket",
		"no bucket":            "s3://?region=us-east-1",
		"a path":               "s3://bucket/path?region=us-east-1",
		"a user":               "s3://user:pw@bucket?region=us-east-1",
		"an unknown parameter": "s3://bucket?region=us-east-1&speed=high",
		"no URL":               "s3://%zz",
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Open(t.Context(), u, blobstore.Options{}); err == nil {
				_ = s.Close()
				t.Error("it is a bucket")
			} else if strings.Contains(err.Error(), "pw") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestUploadURLsAreBoundToTheirContentType(t *testing.T) {
	setCredentials(t, accessKey, secretKey)
	s := open(t, "s3://bucket?region=eu-central-1", blobstore.Options{Prefix: "a/b/", TTL: 90 * time.Second})
	place, err := s.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(place.Upload)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Host != "bucket.s3.eu-central-1.amazonaws.com" || !strings.HasPrefix(u.Path, "/a/b/in/") || q.Get("X-Amz-Expires") != "90" ||
		!strings.Contains(q.Get("X-Amz-SignedHeaders"), "content-type") {
		t.Errorf("host %s, path %s, expires in %s, signed headers %s", u.Host, u.Path, q.Get("X-Amz-Expires"), q.Get("X-Amz-SignedHeaders"))
	}
	if got := s.Origins(); len(got) != 1 || got[0] != "https://bucket.s3.eu-central-1.amazonaws.com:443" {
		t.Errorf("origins %q", got)
	}
}
