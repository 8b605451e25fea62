//go:build linux

package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// versions of Kubernetes that the manifests are for: the first that has what they
// use, and the newest.
var versions = []string{"1.30", "1.37"}

// manifests are the files that kustomization.yaml names.
func manifests(t *testing.T) []string {
	t.Helper()
	var k struct {
		Resources []string `yaml:"resources"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	return k.Resources
}

// An object is what the tests look at of one of Kubernetes.
type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name, Namespace string
	} `yaml:"metadata"`
	Data map[string]string `yaml:"data"`
	Spec struct {
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
		Selector       yaml.Node
		PodSelector    labels                      `yaml:"podSelector"`
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		MinReplicas    int                         `yaml:"minReplicas"`
		Ports          []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Ingress []struct {
			Ports []struct{ Port string }
		}
	} `yaml:"spec"`
}

type labels struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type pod struct {
	ServiceAccountName            string `yaml:"serviceAccountName"`
	AutomountServiceAccountToken  *bool  `yaml:"automountServiceAccountToken"`
	EnableServiceLinks            *bool  `yaml:"enableServiceLinks"`
	TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
	Containers                    []container
	Volumes                       []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
	}
}

type container struct {
	Args  []string
	Env   []struct{ Name, Value string }
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Readiness probe `yaml:"readinessProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Startup   probe `yaml:"startupProbe"`
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// objects are all that are applied, by kind and name.
func objects(t *testing.T) map[string]object {
	t.Helper()
	out := map[string]object{}
	for _, name := range manifests(t) {
		d := yaml.NewDecoder(bytes.NewReader([]byte(read(t, filepath.Join("kubernetes", name)))))
		for {
			var o object
			err := d.Decode(&o)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out[o.Kind+"/"+o.Metadata.Name] = o
		}
	}
	return out
}

func TestTheManifestsAreThoseOfKubernetes(t *testing.T) {
	validate := find(t, "kubernetes-validate")
	all, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var here []string
	for _, path := range all {
		if name := filepath.Base(path); name != "kustomization.yaml" && name != "prometheus-adapter.yaml" {
			here = append(here, name)
		}
	}
	named := slices.Sorted(slices.Values(manifests(t)))
	if diff := cmp.Diff(named, here); diff != "" {
		t.Errorf("files (-kustomization.yaml +directory):\n%s", diff)
	}
	args := []string{"--strict"}
	for _, version := range versions {
		args = append(args, "-k", version)
	}
	for _, name := range here {
		args = append(args, filepath.Join("kubernetes", name))
	}
	said := output(t, validate, args...)
	if passed := strings.Count(said, " passed for resource "); passed != len(versions)*len(objects(t)) || strings.Contains(said, "WARN") {
		t.Errorf("%d of %d objects in %d versions passed:\n%s", passed, len(objects(t)), len(versions), said)
	}
}

func TestTheValidatorFindsMistakes(t *testing.T) {
	validate := find(t, "kubernetes-validate")
	text := strings.Replace(read(t, "kubernetes/deployment.yaml"), "readOnlyRootFilesystem", "readonlyRootFilesystem", 1)
	path := write(t, filepath.Join(t.TempDir(), "deployment.yaml"), text)
	if out, err := command(t, validate, "--strict", "-k", versions[0], path); err == nil {
		t.Errorf("a misspelt field passes:\n%s", out)
	}
}

func TestTheManifestsFitTogether(t *testing.T) {
	all := objects(t)
	deployment := all["Deployment/vgi-worker"].Spec.Template
	c := deployment.Spec.Containers[0]
	ports := map[string]bool{}
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	for name, o := range all {
		if o.Kind != "Namespace" && o.Metadata.Namespace != "vgi" {
			t.Errorf("%s is in namespace %q", name, o.Metadata.Namespace)
		}
		var selected map[string]string
		switch o.Kind {
		case "Service":
			if err := o.Spec.Selector.Decode(&selected); err != nil {
				t.Error(err)
			}
		case "Deployment", "PodDisruptionBudget":
			var l labels
			if err := o.Spec.Selector.Decode(&l); err != nil {
				t.Error(err)
			}
			selected = l.MatchLabels
		case "NetworkPolicy":
			selected = o.Spec.PodSelector.MatchLabels
		default:
			continue
		}
		if diff := cmp.Diff(deployment.Metadata.Labels, selected); diff != "" {
			t.Errorf("%s selects other pods (-pods +selected):\n%s", name, diff)
		}
		for _, p := range o.Spec.Ports {
			if !ports[p.TargetPort] {
				t.Errorf("%s sends to port %q, which the container does not have", name, p.TargetPort)
			}
		}
		for _, from := range o.Spec.Ingress {
			for _, p := range from.Ports {
				if !ports[p.Port] {
					t.Errorf("%s lets others to port %q, which the container does not have", name, p.Port)
				}
			}
		}
	}
	scaler := all["HorizontalPodAutoscaler/vgi-worker"].Spec
	if _, ok := all[scaler.ScaleTargetRef.Kind+"/"+scaler.ScaleTargetRef.Name]; !ok || scaler.MinReplicas < 2 {
		t.Errorf("the autoscaler is for %+v, from %d", scaler.ScaleTargetRef, scaler.MinReplicas)
	}
	if _, ok := all["ServiceAccount/"+deployment.Spec.ServiceAccountName]; !ok {
		t.Errorf("there is no service account %s", deployment.Spec.ServiceAccountName)
	}
	for _, off := range []*bool{deployment.Spec.AutomountServiceAccountToken, deployment.Spec.EnableServiceLinks} {
		if off == nil || *off {
			t.Error("the pod gets credentials of the cluster, or variables that a worker reads as settings")
		}
	}
	for _, p := range []struct {
		probe
		want string
	}{{c.Readiness, "/readyz"}, {c.Liveness, "/livez"}, {c.Startup, "/livez"}} {
		if p.HTTPGet.Path != p.want || p.HTTPGet.Port != "admin" {
			t.Errorf("a probe asks %+v, want %s of the admin listener", p.HTTPGet, p.want)
		}
	}
}

// The pod's configuration and its variables are those that the image's program takes.
func TestTheWorkerUnderstandsItsConfigMap(t *testing.T) {
	all := objects(t)
	spec := all["Deployment/vgi-worker"].Spec.Template.Spec
	c := spec.Containers[0]
	config := all["ConfigMap/vgi-worker"].Data["worker.yaml"]
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	if want := []string{"--config", mounts["config"] + "/worker.yaml"}; !cmp.Equal(want, c.Args) {
		t.Errorf("the worker is started with %q, and its configuration is %q", c.Args, want)
	}
	key := write(t, filepath.Join(t.TempDir(), "token-key"), strings.Repeat("5a", 32)+"\n")
	var env []string
	for _, e := range c.Env {
		if e.Value != "" {
			env = append(env, e.Name+"="+strings.Replace(e.Value, mounts["keys"]+"/token-key", key, 1))
		}
	}
	if !slices.Contains(env, "VGI_RPC_TOKEN_KEY_FILE="+key) {
		t.Errorf("no variable names the key: %q", env)
	}
	check(t, config, env...)
	for _, p := range c.Ports {
		setting := map[string]string{"http": "http: 8080", "admin": "admin: 0.0.0.0:9090"}[p.Name]
		if !strings.Contains(config, setting+"\n") {
			t.Errorf("port %s is %d, and the configuration has no %q", p.Name, p.ContainerPort, setting)
		}
	}
}

func TestKubernetesWaitsForCallsInProgress(t *testing.T) {
	all := objects(t)
	spec := all["Deployment/vgi-worker"].Spec.Template.Spec
	config := all["ConfigMap/vgi-worker"].Data["worker.yaml"]
	sleep := spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	needs := sleep + seconds(t, config, "drain-delay") + seconds(t, config, "drain-timeout") + seconds(t, config, "session-grace") + lastSteps
	if sleep == 0 || spec.TerminationGracePeriodSeconds < needs {
		t.Errorf("terminationGracePeriodSeconds is %d, and preStop (%d s) and the worker may need %d s",
			spec.TerminationGracePeriodSeconds, sleep, needs)
	}
}
