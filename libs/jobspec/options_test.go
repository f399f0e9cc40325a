package jobspec_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// podTask puts fields into a task of a pod.
func podTask(fields string) string {
	return "job_type: j\ntasks:\n  - task_type: a\n    script: x\n" + strings.ReplaceAll("\n"+strings.TrimSpace(fields), "\n", "\n    ") + "\n"
}

func TestOptions(t *testing.T) {
	p := planOf(t, podTask(`
name: builder
container:
  image: golang:1.26
  imageDefinition: {name: other, alias: go, command: [a, b], entrypoint: c, ports: [8080, {number: 53, protocol: udp, name: dns}]}
  cpu_limit: 2
  cpu_request: 500m
  memory_limit: 1Gi
  memory_request: 512Mi
  ephemeral_storage_limit: 2G
  ephemeral_storage_request: 1G
  volumes:
    host_path: [{name: h, mount_path: /h, host_path: /host, read_only: true}]
    pvc: {name: claim, mount_path: /p, sub_path: s}
    config_map: [{name: c, mount_path: /c, items: {key: path}}]
    secret: [{name: s, mount_path: /s, items: {a: b}}]
    projected:
      - name: p
        mount_path: /pr
        sources:
          - secret: {name: s, items: {a: b}}
          - config_map: c
          - service_account_token: {audience: sts, expiration_seconds: 3600, path: token}
    empty_dir: [{name: e, mount_path: /e, medium: memory}]
  volume_driver: local
  volumes_from: other
  devices: [/dev/kvm]
  bind_dir: /srv
  service_account: builder
  user: 1000:50
  shm_size: 64Mi
  pids_limit: 100
  extra_hosts: {db.test: 10.0.0.5}
  pull_policy: always
  env_from: [{secret_ref: s, prefix: S_}, {config_map_ref: {name: c}}]
  env_value_from: [{name: A, secret_name: s, key: k}, {name: B, config_map_name: c, key: k}]
helper: {image: helper:1}
helper_environment: {A: b}
services:
  - {name: db, image: postgres, alias: pg, instances: 2, working_directory: /w, command: [a], entrypoint: [b], ports: [5432], cpu_limit: 1, environment: {PASSWORD: x}, volumes: {data: /var/lib}}
privileged: true
host_network: yes
network_mode: bridge
affinity:
  required_during_scheduling_ignored_during_execution:
    node_selector_terms: [{match_expressions: [{key: k, operator: in, values: [a, b]}], match_fields: [{key: f, operator: Exists}]}]
  preferred_during_scheduling_ignored_during_execution: [{weight: 5, preference: {match_expressions: [{key: z, values: q}]}}]
node_selector: {disk: ssd}
node_tolerations: {gpu=yes: NoSchedule, spot: noexecute}
pod_labels: {team: a}
pod_annotations: [{name: note, value: b}]
artifacts: {paths: [out/*, log], when: always, expires_after: 1000d}
artifacts_dir: in/x
artifact_key_prefix: pre
dependent_artifact_ids: [id1, id2]
cache: {key: go, key_paths: [go.sum], restore_keys: go-, paths: [.cache], expires_after: 1d}
cache_dir: /cache
cost_factor: 1.5
execute_command_without_shell: true
debug: true
`), nil)
	task := p.Tasks[0]
	if task.Spec.CPUMillis != 2000 || task.Spec.MemoryBytes != 1<<30 || task.Method != plan.MethodKubernetes {
		t.Errorf("%+v", task)
	}
	want := &plan.Options{
		Name: "builder",
		Container: &plan.Container{
			Image: "golang:1.26", Alias: "go", Command: []string{"a", "b"}, Entrypoint: []string{"c"},
			Ports: []plan.Port{{Number: 8080, Protocol: "TCP"}, {Number: 53, Protocol: "UDP", Name: "dns"}},
			Limits: plan.Limits{
				CPULimit: 2000, CPURequest: 500, MemoryLimit: 1 << 30, MemoryRequest: 512 << 20, EphemeralLimit: 2e9, EphemeralRequest: 1e9,
			},
			Volumes: []plan.Volume{
				{Kind: "host_path", Name: "h", MountPath: "/h", HostPath: "/host", ReadOnly: true},
				{Kind: "pvc", Name: "claim", MountPath: "/p", SubPath: "s"},
				{Kind: "config_map", Name: "c", MountPath: "/c", Items: map[string]string{"key": "path"}},
				{Kind: "secret", Name: "s", MountPath: "/s", Items: map[string]string{"a": "b"}},
				{Kind: "projected", Name: "p", MountPath: "/pr", Sources: []plan.VolumeSource{
					{Secret: "s", Items: map[string]string{"a": "b"}},
					{ConfigMap: "c"},
					{Token: &plan.TokenSource{Audience: "sts", ExpirationSeconds: 3600, Path: "token"}},
				}},
				{Kind: "empty_dir", Name: "e", MountPath: "/e", Medium: "Memory"},
			},
			VolumeDriver: "local", VolumesFrom: []string{"other"}, Devices: []string{"/dev/kvm"}, BindDir: "/srv", User: "1000:50", ShmSize: 64 << 20, PIDsLimit: 100, ExtraHosts: map[string]string{"db.test": "10.0.0.5"}, PullPolicy: plan.PullAlways, ServiceAccount: "builder",
			EnvFrom:      []plan.EnvFrom{{Secret: "s", Prefix: "S_"}, {ConfigMap: "c"}},
			EnvValueFrom: []plan.EnvValueFrom{{Name: "A", Secret: "s", Key: "k"}, {Name: "B", ConfigMap: "c", Key: "k"}},
		},
		Helper: &plan.Container{Image: "helper:1"}, HelperEnvironment: map[string]string{"A": "b"},
		Services: []plan.Sidecar{{
			Name: "db", Image: "postgres", Alias: "pg", Instances: 2, WorkingDirectory: "/w", Command: []string{"a"}, Entrypoint: []string{"b"},
			Ports: []plan.Port{{Number: 5432, Protocol: "TCP"}}, Limits: plan.Limits{CPULimit: 1000},
			Volumes: []plan.Volume{{Kind: "volume", Name: "data", MountPath: "/var/lib"}}, Environment: map[string]string{"PASSWORD": "x"},
		}},
		Privileged: true, HostNetwork: true, NetworkMode: "bridge",
		Affinity: &plan.Affinity{
			Required: []plan.NodeTerm{{
				Expressions: []plan.NodeExpression{{Key: "k", Operator: "In", Values: []string{"a", "b"}}},
				Fields:      []plan.NodeExpression{{Key: "f", Operator: "Exists"}},
			}},
			Preferred: []plan.PreferredTerm{{Weight: 5, Term: plan.NodeTerm{Expressions: []plan.NodeExpression{{Key: "z", Operator: "In", Values: []string{"q"}}}}}},
		},
		NodeSelector: map[string]string{"disk": "ssd"},
		Tolerations: []plan.Toleration{
			{Key: "gpu", Operator: "Equal", Value: "yes", Effect: "NoSchedule"}, {Key: "spot", Operator: "Exists", Effect: "NoExecute"},
		},
		PodLabels: map[string]string{"team": "a"}, PodAnnotations: map[string]string{"note": "b"},
		Artifacts:    &plan.Artifacts{Paths: []string{"out/*", "log"}, When: plan.Always, ExpiresAfter: 1000 * 24 * time.Hour},
		ArtifactsDir: "in/x", ArtifactKeyPrefix: "pre", DependentArtifactIDs: []string{"id1", "id2"},
		Cache:    &plan.Cache{Key: "go", KeyPaths: []string{"go.sum"}, RestoreKeys: []string{"go-"}, Paths: []string{".cache"}, ExpiresAfter: 24 * time.Hour},
		CacheDir: "/cache", CostFactor: 1.5, WithoutShell: true, Debug: true,
	}
	if diff := cmp.Diff(want, task.Spec.Options); diff != "" {
		t.Error(diff)
	}
	raw, err := json.Marshal(task.Spec.Options)
	if err != nil {
		t.Fatal(err)
	}
	back := &plan.Options{}
	if err := json.Unmarshal(raw, back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("after a round trip: %s", diff)
	}
}

// TestOptionForms reads the other forms of options that have several.
func TestOptionForms(t *testing.T) {
	for fields, want := range map[string]*plan.Options{
		"container: alpine":                       {Container: &plan.Container{Image: "alpine"}},
		"container: {image: {name: a, alias: b}}": {Container: &plan.Container{Image: "a", Alias: "b"}},
		"services: {db: {image: a}}":              {Services: []plan.Sidecar{{Name: "db", Image: "a", Instances: 1}}},
		"services: {name: db, image: a}":          {Services: []plan.Sidecar{{Name: "db", Image: "a", Instances: 1}}},
		"node_tolerations: [{key: a, value: b, effect: NoExecute, toleration_seconds: 5}]":                    {Tolerations: []plan.Toleration{{Key: "a", Operator: "Equal", Value: "b", Effect: "NoExecute", Seconds: 5}}},
		"node_tolerations: [{operator: Exists}]":                                                              {Tolerations: []plan.Toleration{{Operator: "Exists"}}},
		"node_selector: [disk=ssd, {name: a, value: 1}]":                                                      {NodeSelector: map[string]string{"disk": "ssd", "a": "1"}},
		"artifacts: {paths: out}":                                                                             {Artifacts: &plan.Artifacts{Paths: []string{"out"}, When: plan.OnSuccess}},
		"cache: {key: k, paths: [a]}":                                                                         {Cache: &plan.Cache{Key: "k", Paths: []string{"a"}}},
		"affinity: {node_affinity: {preferred_during_scheduling_ignored_during_execution: {preference: {}}}}": {Affinity: &plan.Affinity{Preferred: []plan.PreferredTerm{{Weight: 1}}}},
		"container: {volumes: {my-bind-mount: /srv, other-bind-mount: '/a:/b:ro', named: /c, /host: /d}}": {Container: &plan.Container{Volumes: []plan.Volume{
			{Kind: "bind", Name: "my-bind-mount", HostPath: "/srv", MountPath: "/srv"},
			{Kind: "bind", Name: "other-bind-mount", HostPath: "/a", MountPath: "/b", ReadOnly: true},
			{Kind: "volume", Name: "named", MountPath: "/c"},
			{Kind: "bind", HostPath: "/host", MountPath: "/d"},
		}}},
		"container: {volumes: ['cache:/c', '/a:/b:ro']}": {Container: &plan.Container{Volumes: []plan.Volume{
			{Kind: "volume", Name: "cache", MountPath: "/c"}, {Kind: "bind", HostPath: "/a", MountPath: "/b", ReadOnly: true},
		}}},
		"container:":  nil,
		"privileged:": nil, // null is absent
	} {
		p := planOf(t, podTask(fields), nil)
		if diff := cmp.Diff(want, p.Tasks[0].Spec.Options); diff != "" {
			t.Errorf("%s: %s", fields, diff)
		}
	}
}

func TestSecrets(t *testing.T) {
	p := planOf(t, podTask("secrets: [TOKEN, db-password, 1st, {name: a, env: A}, {name: a, file: conf/a}, params.pin]"), nil)
	if diff := cmp.Diff([]plan.Secret{
		{Name: "TOKEN", Env: "TOKEN"},
		{Name: "db-password", Env: "DB_PASSWORD"},
		{Name: "1st", Env: "SECRET_1ST"},
		{Name: "a", Env: "A"},
		{Name: "a", File: "conf/a", FileEnv: "a_FILE"},
		{Name: "params.pin", Env: "pin"},
	}, p.Tasks[0].Secrets); diff != "" {
		t.Error(diff)
	}
	for fields, want := range map[string]string{
		"secrets: [{name: a, env: PATH}]":         `"PATH" cannot name a variable for a secret`,
		"secrets: [{name: a, env: a b}]":          `"a b" cannot name a variable for a secret`,
		"secrets: [{name: a, file: ../a}]":        `"../a" is no path inside the directory of secrets`,
		"secrets: [{name: a, file: /etc/passwd}]": `"/etc/passwd" is no path inside the directory of secrets`,
		"secrets: [a, a]":                         "the secret is named twice",
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte(podTask(fields)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

func TestOptionsAtTheClaim(t *testing.T) {
	def := parse(t, `job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x, on_completed: b}
  - task_type: b
    method: DOCKER
    script: x
    container: {image: '{{.IMAGE}}', cpu_limit: '{{.CPU}}'}
    cache: {key: '{{.KEY}}', paths: [x]}
`)
	p, err := def.Plan(value.Vars{"KEY": "x\nprivileged: true"})
	if err == nil || !strings.Contains(err.Error(), "cannot stand here") {
		t.Errorf("a key of two lines: %+v %v", p, err)
	}
	p, err = def.Plan(value.Vars{"KEY": "k"})
	if err != nil || !p.Tasks[1].Late {
		t.Fatalf("%+v %v", p, err)
	}
	task, err := def.Task("b", value.Vars{"KEY": "k", "IMAGE": "alpine:3", "CPU": "250m"})
	if err != nil {
		t.Fatal(err)
	}
	if o := task.Spec.Options; o.Container.Image != "alpine:3" || o.Container.CPULimit != 250 || task.Spec.CPUMillis != 250 || o.Cache.Key != "k" {
		t.Errorf("%+v", task.Spec)
	}
}

func TestProblemsOfOptions(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   []string
	}{
		{"container: {imago: x, volumes: {hostpath: [{name: a}]}}", []string{
			`job.yaml:6:17: the field "imago" is not known, expected image`,
			`job.yaml:6:37: "hostpath" is no kind of volumes, expected host_path`,
		}},
		{"container: {volumes: {host_path: [{name: a, mount_path: /a, medium: x}], pvc: [a]}}", []string{
			`job.yaml:6:39: the field host_path is missing`,
			`job.yaml:6:65: the field "medium" is not known`,
			`job.yaml:6:84: a volume is a single value, expected a mapping`,
		}},
		{"container: {volumes: [nothing]}", []string{`job.yaml:6:27: "nothing" is no volume`}},
		{"container: {memory_limit: 1G, memory_request: 2G}", []string{`job.yaml:6:51: memory_request is above memory_limit`}},
		{"container: {env_from: [{prefix: x}, {secret_ref: a, config_map_ref: b}]}", []string{
			`job.yaml:6:28: neither secret_ref nor config_map_ref is given`,
			`job.yaml:6:41: secret_ref and config_map_ref are both given`,
		}},
		{"container: {env_value_from: [{name: A, secret_name: s}]}", []string{`job.yaml:6:34: the field key is missing`}},
		{"container: {imageDefinition: {ports: [0, {protocol: icmp}]}}", []string{
			`job.yaml:6:43: "0" is out of bounds`, `job.yaml:6:46: the field number is missing`, `job.yaml:6:57: "icmp" is not known here`,
		}},
		{"services: [{name: a, image: b}, {name: a, image: b}, {image: c, instances: 99}]", []string{
			`job.yaml:6:15: a service is defined twice`, `job.yaml:6:58: the field name is missing`, `job.yaml:6:80: "99" is out of bounds`,
		}},
		{"services: [{name: My Service!, image: a}, {name: ok, alias: -a, image: b}, {name: '{{.LATER}}', image: c}]", []string{
			`job.yaml:6:23: "My Service!" cannot be the name of a host, expected 1 to 63 letters, digits`, `job.yaml:6:65: "-a" cannot be the name of a host`,
		}},
		{"services: {'a b': {image: a}}", []string{`job.yaml:6:16: "a b" cannot be the name of a host`}},
		{"node_tolerations: {a=b: Never}", []string{`job.yaml:6:29: "Never" is not known here`}},
		{"artifacts: {when: sometimes}", []string{`job.yaml:6:16: the field paths is missing`, `job.yaml:6:23: "sometimes" is not known here`}},
		{"cost_factor: cheap", []string{`job.yaml:6:18: "cheap" is out of bounds or no number`}},
		{"affinity: {pod_affinity: {}}", []string{`job.yaml:6:16: the field "pod_affinity" is not known, expected node_affinity`}},
		{"cache: {key: a, paths: [b], restore_keys: [ok, '']}", []string{`job.yaml:6:52: "" is no beginning of a key, expected one line of 1 to 400 bytes`}},
		{"cache: {key: a, paths: [b], expires_after: 36501d}", []string{`job.yaml:6:48: "36501d" is no duration, expected a number with a unit up to 36500 days`}},
		{"artifacts: {paths: [ok, /etc/x, ../x, a/../../x, '[']}", []string{
			`job.yaml:6:29: "/etc/x" is not below the working directory, expected a path relative to that, without ..`,
			`job.yaml:6:37: "../x" is not below`, `job.yaml:6:43: "a/../../x" is not below`,
			`job.yaml:6:54: "[" is no pattern, expected a path in which * ? [a-z] {a,b} and ** have a meaning`,
		}},
		{"cache: {key: a, key_paths: /go.sum, paths: ['{a', '{{.LATER}}', .]}", []string{
			`job.yaml:6:32: "/go.sum" is not below`, `job.yaml:6:49: "{a" is no pattern`,
		}},
		{"artifacts_dir: /in", []string{`job.yaml:6:20: "/in" is not below the working directory, expected a path relative to that, without ..`}},
		{"artifacts_dir: in/../../x", []string{`job.yaml:6:20: "in/../../x" is not below the working directory`}},
		{"timeout: 60000d2000000h", []string{`job.yaml:6:14: "60000d2000000h" is no duration`}}, // more than a number of 64 bits holds
		{"privileged: maybe", []string{`job.yaml:6:17: "maybe" is no switch`}},
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte(podTask(c.fields)))
		t.Run(c.fields, func(t *testing.T) { expectProblems(t, err, c.want...) })
	}
}

func TestCacheKeys(t *testing.T) {
	def, warnings, err := jobspec.Parse("job.yaml", []byte(podTask("cache: {keys: [go.sum], paths: [a]}")))
	if err != nil || len(warnings) != 1 || warnings[0].Code != source.CodeMisspelledField {
		t.Fatalf("%v %v", warnings, err)
	}
	p, err := def.Plan(nil)
	if err != nil || p.Tasks[0].Spec.Options.Cache.KeyPaths[0] != "go.sum" {
		t.Errorf("%+v %v", p, err)
	}
}
