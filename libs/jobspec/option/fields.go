package option

import (
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
)

// Fields are the fields of a task for executors of containers and pods, artifacts and the cache.
func Fields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the container or pod.", Methods: PodMethods()},
		{Name: "container", Form: field.AnyOf(field.Ref("container"), field.Text()), Doc: "The container of the script; a text is its image."},
		{Name: "helper", Form: field.AnyOf(field.Ref("container"), field.Text()), Doc: "The container that moves artifacts and the cache.", Methods: podsOnly()},
		{Name: "services", Form: field.AnyOf(field.ListOf(field.Ref("service")), field.MapOf(field.Ref("service")), field.Ref("service")), Doc: "Containers beside the task in its pod.", Methods: PodMethods()},
		{Name: "privileged", Form: field.Flag(), Doc: "Runs with the rights of the host.", Methods: PodMethods()},
		{Name: "host_network", Form: field.Flag(), Doc: "Shares the network of the node.", Methods: PodMethods()},
		{Name: "network_mode", Form: field.Text(), Doc: "Docker's network: bridge, host, none or container:NAME.", Methods: PodMethods()},
		{Name: "affinity", Form: field.Ref("affinity"), Doc: "The nodes that the pod must or should be on.", Methods: podsOnly()},
		{Name: "node_selector", Form: field.Texts(), Doc: "Labels that the node must have.", Methods: podsOnly()},
		{Name: "node_tolerations", Form: field.AnyOf(field.MapOf(field.Form{"type": []any{"string", "null"}}), field.ListOf(field.Ref("toleration"))), Doc: "Taints that the pod tolerates: key=value to an effect.", Methods: podsOnly()},
		{Name: "pod_labels", Form: field.Texts(), Doc: "Labels of the pod.", Methods: PodMethods()},
		{Name: "pod_annotations", Form: field.Texts(), Doc: "Annotations of the pod.", Methods: podsOnly()},
		{Name: "helper_environment", Form: field.Texts(), Doc: "Variables of the helper.", Methods: podsOnly()},
		{Name: "artifacts", Form: field.Ref("artifacts"), Doc: "Files that are kept after the task."},
		ofScripts(field.Field{Name: "artifacts_dir", Form: field.Text(), Doc: "Where the artifacts of earlier tasks are put."}),
		{Name: "artifact_key_prefix", Form: field.Text(), Doc: "Put before the keys of artifacts.", Inactive: true},
		{Name: "dependent_artifact_ids", Form: field.OneOrMore(field.Name()), Doc: "Artifacts of other jobs that are put there too."},
		ofScripts(field.Field{Name: "cache", Form: field.Ref("cache"), Doc: "Files that later runs find again."}),
		{Name: "cache_dir", Form: field.Text(), Doc: "Where the archive of the cache is packed.", Inactive: true},
		{Name: "cost_factor", Form: field.Number(0, 1e6), Doc: "What a second of the task costs.", Inactive: true},
		{Name: "execute_command_without_shell", Form: field.Flag(), Doc: "Executes each line of the script as a command.", Inactive: true},
		{Name: "debug", Form: field.Flag(), Doc: "Keeps what the executor would remove.", Inactive: true},
	}
}

func artifactFields() []field.Field {
	return []field.Field{
		ofScripts(field.Field{Name: "paths", Form: field.OneOrMore(field.Text()), Doc: "Patterns of files in the working directory."}),
		{Name: "when", Form: read.MomentsForm(), Doc: "After which outcomes; onSuccess when not given."},
		{Name: "expires_after", Form: field.Duration(), Doc: "When they are removed; 30 days after the end of the task when not given.", Aliases: []string{"expire_after"}},
		{Name: "optional", Form: field.Flag(), Doc: "That a path matches nothing is no fault."},
	}
}

func cacheFields() []field.Field {
	return []field.Field{
		{Name: "key", Form: field.Text(), Doc: "The key under which the files are found again; with key_paths what comes before their digest and a -."},
		{Name: "key_paths", Form: field.OneOrMore(field.Text()), Doc: "Patterns of files whose digest is the end of the key.", Aliases: []string{"keys"}},
		{Name: "restore_keys", Form: field.OneOrMore(field.Text()), Doc: "Beginnings of keys: where the key is not found, the newest of the first that any key begins with is restored."},
		{Name: "paths", Form: field.OneOrMore(field.Text()), Doc: "Patterns of files in the working directory that are kept."},
		{Name: "expires_after", Form: field.Duration(), Doc: "When they are removed; 30 days after they were stored when not given.", Aliases: []string{"expire_after"}},
	}
}

// limitFields are those of any container.
func limitFields() []field.Field {
	return []field.Field{
		{Name: "cpu_limit", Form: field.CPU(), Doc: "Processors at most, such as 2, 0.5 or 500m."},
		{Name: "cpu_request", Form: field.CPU(), Doc: "Processors that are set aside."},
		{Name: "memory_limit", Form: field.Memory(), Doc: "Memory at most, such as 512Mi or 1G."},
		{Name: "memory_request", Form: field.Memory(), Doc: "Memory that is set aside."},
		{Name: "ephemeral_storage_limit", Form: field.Memory(), Doc: "Disk at most."},
		{Name: "ephemeral_storage_request", Form: field.Memory(), Doc: "Disk that is set aside."},
	}
}

func containerFields() []field.Field {
	limits := limitFields()
	for i := range limits {
		if limits[i].Name != "cpu_limit" && limits[i].Name != "memory_limit" { // any process has these
			limits[i].Methods = PodMethods()
		}
		if strings.HasPrefix(limits[i].Name, "ephemeral_storage_") {
			limits[i].Methods = podsOnly()
		}
	}
	return append(ofPods(
		field.Field{Name: "image", Form: field.AnyOf(field.Text(), field.Ref("image")), Doc: "The image to run."},
		field.Field{Name: "imageDefinition", Form: field.Ref("image"), Doc: "The image with alias, command, entrypoint and ports."},
		field.Field{Name: "image_definition", Form: field.Ref("image"), Doc: "Another name of imageDefinition."},
		field.Field{Name: "volumes", Form: volumesForm(), Doc: "Volumes: kinds with lists (Kubernetes), or names with paths (Docker)."},
		field.Field{Name: "volume_driver", Form: field.Text(), Doc: "Docker's driver of named volumes."},
		field.Field{Name: "volumes_from", Form: field.OneOrMore(field.Text()), Doc: "Containers whose volumes are shared."},
		field.Field{Name: "devices", Form: field.OneOrMore(field.Text()), Doc: "Devices of the host."},
		field.Field{Name: "bind_dir", Form: field.Text(), Doc: "A directory of the host for the working directory."},
		field.Field{Name: "user", Form: field.Text(), Doc: "The user that runs it, as USER or USER:GROUP, by name or number; the image's when not given."},
		field.Field{Name: "shm_size", Form: field.Memory(), Doc: "Shared memory (/dev/shm) at most."},
		field.Field{Name: "pids_limit", Form: field.Whole(1, maxPIDs), Doc: "Processes at most."},
		field.Field{Name: "extra_hosts", Form: field.Texts(), Doc: "Names of hosts with their addresses."},
		field.Field{Name: "pull_policy", Form: field.Word(pullPolicies()...), Doc: "When the image is pulled: always, if-not-present or never; what the ant says when not given."},
	), append(limits, field.Field{Name: "service_account", Form: field.Text(), Doc: "The account of the pod in the cluster.", Methods: podsOnly()}, field.Field{Name: "env_from", Form: field.OneOrMore(field.Ref("env_from")), Doc: "Secrets and config maps whose entries become variables.", Methods: podsOnly()}, field.Field{Name: "env_value_from", Form: field.OneOrMore(field.Ref("env_value_from")), Doc: "Single entries of secrets and config maps that become variables.", Methods: podsOnly()})...)
}

func imageFields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The image."},
		{Name: "alias", Form: field.Text(), Doc: "Another name of the container in the network."},
		{Name: "command", Form: field.OneOrMore(field.Text()), Doc: "The command."},
		{Name: "entrypoint", Form: field.OneOrMore(field.Text()), Doc: "The entry point."},
		{Name: "ports", Form: portsForm(), Doc: "Ports that it listens on."},
	}
}

func portsForm() field.Form {
	return field.OneOrMore(field.AnyOf(field.Whole(1, maxPort), field.Ref("port")))
}

func portFields() []field.Field {
	return []field.Field{
		{Name: "number", Form: field.Whole(1, maxPort), Doc: "The number of the port."},
		{Name: "protocol", Form: field.Word(protocols()...), Doc: "TCP when not given."},
		{Name: "name", Form: field.Text(), Doc: "The name of the port."},
	}
}

func serviceFields() []field.Field {
	return append([]field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the service."},
		{Name: "instances", Form: field.Whole(1, maxServices), Doc: "How many of it; each finds its number in SERVICE_INSTANCE."},
		{Name: "alias", Form: field.Text(), Doc: "The host name under which it is reached."},
		{Name: "working_directory", Form: field.Text(), Doc: "Its directory."},
		{Name: "image", Form: field.Text(), Doc: "The image to run."},
		{Name: "command", Form: field.OneOrMore(field.Text()), Doc: "The command."},
		{Name: "entrypoint", Form: field.OneOrMore(field.Text()), Doc: "The entry point."},
		{Name: "volumes", Form: volumesForm(), Doc: "Its volumes."},
		{Name: "ports", Form: portsForm(), Doc: "Ports that it listens on."},
		{Name: "environment", Form: field.Texts(), Doc: "Its variables; it gets none of the task's. People who may look at the engine see them."},
	}, limitFields()...)
}

func envFromFields() []field.Field {
	reference := func() field.Form { return field.AnyOf(field.Text(), field.Ref("reference")) }
	return []field.Field{
		{Name: "secret_ref", Form: reference(), Doc: "The secret."},
		{Name: "config_map_ref", Form: reference(), Doc: "The config map."},
		{Name: "prefix", Form: field.Text(), Doc: "Put before the names of the variables."},
	}
}

func envValueFields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the variable."},
		{Name: "secret_name", Form: field.Text(), Doc: "The secret."},
		{Name: "config_map_name", Form: field.Text(), Doc: "The config map."},
		{Name: "key", Form: field.Text(), Doc: "The key in it."},
	}
}

func referenceFields() []field.Field {
	return []field.Field{{Name: "name", Form: field.Text(), Doc: "The name of the secret or config map."}}
}

// volumesForm is the mapping of kinds and names, or Docker's list.
func volumesForm() field.Form {
	properties := field.Form{}
	for _, kind := range volumeKinds() {
		properties[kind] = field.AnyOf(field.Text(), field.OneOrMore(field.Ref("volume_"+kind)))
	}
	return field.AnyOf(
		field.Form{"type": "object", "properties": properties, "additionalProperties": field.Text()},
		field.OneOrMore(field.Pattern(`^[^:]+:.`)),
	)
}

func volumeFields(kind string) []field.Field {
	fields := []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the volume, or of what it is made of."},
		{Name: "mount_path", Form: field.Text(), Doc: "The path in the container."},
		{Name: "sub_path", Form: field.Text(), Doc: "The path in the volume."},
		{Name: "read_only", Form: field.Flag(), Doc: "Mounts it to read only."},
	}
	switch kind {
	case plan.VolumeHostPath:
		fields = append(fields, field.Field{Name: "host_path", Form: field.Text(), Doc: "The path on the node."})
	case plan.VolumeConfigMap, plan.VolumeSecret:
		fields = append(fields, field.Field{Name: "items", Form: field.Texts(), Doc: "Keys that become files: key to path."})
	case plan.VolumeProjected:
		fields = append(fields, field.Field{Name: "sources", Form: field.ListOf(field.Ref("source")), Doc: "What is put into the volume."})
	case plan.VolumeEmptyDir:
		fields = append(fields, field.Field{Name: "medium", Form: field.Word("Memory"), Doc: "Memory, or the disk when not given."})
	}
	return fields
}

func sourceFields() []field.Field {
	item := func() field.Form { return field.AnyOf(field.Text(), field.Ref("source_items")) }
	return []field.Field{
		{Name: "secret", Form: item(), Doc: "A secret."},
		{Name: "config_map", Form: item(), Doc: "A config map."},
		{Name: "service_account_token", Form: field.Ref("token"), Doc: "A token of the pod's service account."},
	}
}

func sourceItemFields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the secret or config map."},
		{Name: "items", Form: field.Texts(), Doc: "Keys that become files: key to path."},
	}
}

func tokenFields() []field.Field {
	return []field.Field{
		{Name: "audience", Form: field.Text(), Doc: "Who the token is for."},
		{Name: "expiration_seconds", Form: field.Whole(minTokenSeconds, maxTokenSeconds), Doc: "How long it is valid."},
		{Name: "path", Form: field.Text(), Doc: "The path of the token in the volume."},
	}
}

func affinityFields() []field.Field {
	return []field.Field{
		{Name: "node_affinity", Form: field.Ref("affinity"), Doc: "The same, one level deeper."},
		{Name: requiredAffinity, Form: field.Ref("required_affinity"), Doc: "Terms of which one must hold."},
		{Name: preferredAffinity, Form: field.OneOrMore(field.Ref("preferred_term")), Doc: "Terms that add weight."},
	}
}

func requiredAffinityFields() []field.Field {
	return []field.Field{{Name: "node_selector_terms", Form: field.OneOrMore(field.Ref("node_term")), Doc: "Terms of which one must hold."}}
}

func preferredFields() []field.Field {
	return []field.Field{
		{Name: "weight", Form: field.Whole(1, 100), Doc: "What the term counts."},
		{Name: "preference", Form: field.Ref("node_term"), Doc: "The term."},
	}
}

func nodeTermFields() []field.Field {
	return []field.Field{
		{Name: "match_expressions", Form: field.OneOrMore(field.Ref("node_expression")), Doc: "Labels of the node."},
		{Name: "match_fields", Form: field.OneOrMore(field.Ref("node_expression")), Doc: "Fields of the node."},
	}
}

func nodeExpressionFields() []field.Field {
	return []field.Field{
		{Name: "key", Form: field.Text(), Doc: "The label or field."},
		{Name: "operator", Form: field.Word(nodeOperators()...), Doc: "How it is compared; In when not given."},
		{Name: "values", Form: field.OneOrMore(field.Text()), Doc: "What it is compared with."},
	}
}

func tolerationFields() []field.Field {
	return []field.Field{
		{Name: "key", Form: field.Text(), Doc: "The key of the taint."},
		{Name: "operator", Form: field.Word("Equal", "Exists"), Doc: "How it is compared."},
		{Name: "value", Form: field.Text(), Doc: "The value of the taint."},
		{Name: "effect", Form: field.Word(taintEffects()...), Doc: "The effect of the taint; all when not given."},
		{Name: "toleration_seconds", Form: field.Whole(0, maxTokenSeconds), Doc: "How long the pod stays after the taint appears."},
	}
}
