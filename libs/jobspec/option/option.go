package option

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Bounds of options.
const (
	maxServices = 50
	maxPorts    = 100
	maxVolumes  = 100
)

func (r reader) podOption(p *source.Pair, o func() *plan.Options) bool {
	n := p.Value
	switch p.Key {
	case "name":
		o().Name = r.Short(n)
	case "helper":
		o().Helper = r.container(p)
	case "services":
		o().Services = r.services(n)
	case "privileged":
		o().Privileged = r.Flag(n)
	case "host_network":
		o().HostNetwork = r.Flag(n)
	case "network_mode":
		o().NetworkMode = r.Short(n)
	case "affinity":
		o().Affinity = r.affinity(p)
	case "node_selector":
		o().NodeSelector = r.Texts(n)
	case "node_tolerations":
		o().Tolerations = r.tolerations(n)
	case "pod_labels":
		o().PodLabels = r.Texts(n)
	case "pod_annotations":
		o().PodAnnotations = r.Texts(n)
	case "helper_environment":
		o().HelperEnvironment = r.Texts(n)
	case "cost_factor":
		o().CostFactor = r.Number(n, 0, 1e6)
	case "execute_command_without_shell":
		o().WithoutShell = r.Flag(n)
	case "debug":
		o().Debug = r.Flag(n)
	default:
		return false
	}
	return true
}

func (r reader) fileOption(p *source.Pair, task string, o func() *plan.Options) bool {
	n := p.Value
	switch p.Key {
	case "artifacts":
		o().Artifacts = r.artifacts(p)
	case "artifacts_dir":
		o().ArtifactsDir = r.Dir(n)
	case "artifact_key_prefix":
		o().ArtifactKeyPrefix = r.Short(n)
	case "dependent_artifact_ids":
		o().DependentArtifactIDs = read.Texts(r.List(n))
	case "cache":
		o().Cache = r.cache(p, task)
	case "cache_dir":
		o().CacheDir = r.Path(n)
	default:
		return false
	}
	return true
}

func (r reader) artifacts(at *source.Pair) *plan.Artifacts {
	if at.Value.Kind == source.Null {
		return nil
	}
	a := &plan.Artifacts{When: plan.OnSuccess}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch r.Misspelled(p, at.Value, "artifacts") {
		case "paths":
			a.Paths = r.Patterns(p.Value)
		case "when":
			a.When = r.Moments(p.Value, plan.OnSuccess)
		case "expires_after":
			a.ExpiresAfter = r.DurationUpTo(p.Value, read.MaxExpiry)
		case "optional":
			a.Optional = r.Flag(p.Value)
		default:
			r.Unknown(p, artifactFields)
		}
	}, at)
	r.Required(at.Value, "paths", "the files to keep")
	return a
}

func (r reader) cache(at *source.Pair, task string) *plan.Cache {
	if at.Value.Kind == source.Null {
		return nil
	}
	c := &plan.Cache{}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch r.Misspelled(p, at.Value, "cache") {
		case "key":
			c.Key = r.cacheName(p.Value)
		case "key_paths":
			c.KeyPaths = r.Patterns(p.Value)
		case "restore_keys":
			c.RestoreKeys = r.restoreKeys(p.Value)
		case "paths":
			c.Paths = r.Patterns(p.Value)
		case "expires_after":
			c.ExpiresAfter = r.DurationUpTo(p.Value, read.MaxExpiry)
		default:
			r.Unknown(p, cacheFields)
		}
	}, at)
	r.Required(at.Value, "paths", "the files to keep")
	r.cacheKey(c, at.Value, task)
	return c
}

// cacheKey sees to it that something names a cache.
func (r reader) cacheKey(c *plan.Cache, n *source.Node, task string) {
	if n.Kind == source.Map && n.Get("key") == nil && n.Get("key_paths") == nil && n.Get("keys") == nil {
		c.Key = task
		r.ReadAs(n, "the cache has no key: it is that of the task", "key, or key_paths: files whose digest is a part of the key")
	}
}

// maxRestoreKeys bounds what is looked for before each task.
const maxRestoreKeys = 20

func (r reader) restoreKeys(n *source.Node) []string {
	items := r.List(n)
	if len(items) > maxRestoreKeys {
		r.Fault(n, source.CodeInvalidValue, "there are too many restore_keys", fmt.Sprintf("at most %d", maxRestoreKeys))
		return nil
	}
	for _, it := range items {
		if it.Known && (it.Text == "" || len(it.Text) > maxCacheKey || strings.ContainsAny(it.Text, "\x00\n\r")) {
			r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no beginning of a key", fmt.Sprintf("one line of 1 to %d bytes", maxCacheKey))
		}
	}
	return read.Texts(items)
}

// maxCacheKey leaves room for a digest in the 512 bytes that a key may have.
const maxCacheKey = 400

func (r reader) cacheName(n *source.Node) string {
	text := r.Short(n)
	if len(text) > maxCacheKey {
		r.Fault(n, source.CodeInvalidValue, "the key is too long", fmt.Sprintf("at most %d bytes", maxCacheKey))
		return ""
	}
	return text
}

// PodMethods are the methods of containers and pods.
func PodMethods() []string { return []string{plan.MethodDocker, plan.MethodKubernetes} }

// podsOnly are the methods of pods.
func podsOnly() []string { return []string{plan.MethodKubernetes} }

// ofScripts marks a field on which nothing but what has a directory acts.
func ofScripts(f field.Field) field.Field {
	f.Methods = []string{plan.MethodShell, plan.MethodDocker, plan.MethodKubernetes}
	return f
}

// ofPods marks fields on which nothing but the executors of containers and pods acts.
func ofPods(fields ...field.Field) []field.Field {
	for i := range fields {
		fields[i].Methods = PodMethods()
	}
	return fields
}

// Levels are the mappings of executor options.
func Levels() []field.Level {
	out := []field.Level{
		{Name: "artifacts", Doc: "Files that are kept after a task.", Fields: artifactFields, Required: []string{"paths"}},
		{Name: "cache", Doc: "Files that later runs find again.", Fields: cacheFields, Required: []string{"paths"}},
		{Name: "container", Doc: "A container of a task.", Fields: containerFields, Required: nil},
		{Name: "image", Doc: "An image with what it runs.", Fields: imageFields, Required: []string{"name"}},
		{Name: "port", Doc: "A port of a container.", Fields: portFields, Required: []string{"number"}},
		{Name: "service", Doc: "A container beside the task.", Fields: serviceFields, Required: []string{"image"}},
		{Name: "env_from", Doc: "All entries of a secret or config map.", Fields: envFromFields, Required: nil},
		{Name: "env_value_from", Doc: "One entry of a secret or config map.", Fields: envValueFields, Required: []string{"name", "key"}},
		{Name: "reference", Doc: "A secret or config map.", Fields: referenceFields, Required: []string{"name"}},
		{Name: "source", Doc: "A source of a projected volume.", Fields: sourceFields, Required: nil},
		{Name: "source_items", Doc: "Entries of a secret or config map that become files.", Fields: sourceItemFields, Required: []string{"name"}},
		{Name: "token", Doc: "A token for an audience.", Fields: tokenFields, Required: []string{"path"}},
		{Name: "affinity", Doc: "The nodes that a pod must or should be on.", Fields: affinityFields, Required: nil},
		{Name: "required_affinity", Doc: "Terms of which one must hold.", Fields: requiredAffinityFields, Required: nil},
		{Name: "preferred_term", Doc: "A term with a weight.", Fields: preferredFields, Required: nil},
		{Name: "node_term", Doc: "Expressions that must all hold.", Fields: nodeTermFields, Required: nil},
		{Name: "node_expression", Doc: "A comparison of a label or field.", Fields: nodeExpressionFields, Required: []string{"key"}},
		{Name: "toleration", Doc: "A taint that a pod tolerates.", Fields: tolerationFields, Required: nil},
	}
	for _, kind := range volumeKinds() {
		required := []string{"name", "mount_path"}
		switch kind {
		case plan.VolumeHostPath:
			required = append(required, "host_path")
		case plan.VolumeProjected:
			required = append(required, "sources")
		}
		fields := func() []field.Field { return volumeFields(kind) }
		out = append(out, field.Level{Name: "volume_" + kind, Doc: "A volume of the kind " + kind + ".", Fields: fields, Required: required})
	}
	return out
}

// reader reads options.
type reader struct{ *read.Reader }

// Read reads a field about pods, artifacts or the cache of a task. It returns false when the key is none of these;
// options gives what it is written to.
func Read(r *read.Reader, p *source.Pair, task string, options func() *plan.Options) bool {
	o := reader{r}
	return o.podOption(p, options) || o.fileOption(p, task, options)
}

// Container reads the container of a task.
func Container(r *read.Reader, p *source.Pair) *plan.Container {
	return reader{r}.container(p)
}
