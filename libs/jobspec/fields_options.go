package jobspec

import "github.com/formicary/formicary/libs/jobspec/plan"

// optionTable are the fields of a task for executors of containers and pods, artifacts and the cache.
func optionTable() []field {
	return []field{
		{name: "name", form: aText(), doc: "The name of the container or pod.", methods: podMethods()},
		{name: "container", form: anyOf(ref("container"), aText()), doc: "The container of the script; a text is its image."},
		{name: "helper", form: anyOf(ref("container"), aText()), doc: "The container that moves artifacts and the cache.", methods: podMethods()},
		{name: "services", form: anyOf(listOf(ref("service")), mapOf(ref("service")), ref("service")), doc: "Containers beside the task in its pod.", methods: podMethods()},
		{name: "privileged", form: aFlag(), doc: "Runs with the rights of the host.", methods: podMethods()},
		{name: "host_network", form: aFlag(), doc: "Shares the network of the node.", methods: podMethods()},
		{name: "network_mode", form: aText(), doc: "Docker's network: bridge, host, none or container:NAME.", methods: podMethods()},
		{name: "affinity", form: ref("affinity"), doc: "The nodes that the pod must or should be on.", methods: podMethods()},
		{name: "node_selector", form: texts(), doc: "Labels that the node must have.", methods: podMethods()},
		{name: "node_tolerations", form: anyOf(mapOf(form{"type": []any{"string", "null"}}), listOf(ref("toleration"))), doc: "Taints that the pod tolerates: key=value to an effect.", methods: podMethods()},
		{name: "pod_labels", form: texts(), doc: "Labels of the pod.", methods: podMethods()},
		{name: "pod_annotations", form: texts(), doc: "Annotations of the pod.", methods: podMethods()},
		{name: "helper_environment", form: texts(), doc: "Variables of the helper.", methods: podMethods()},
		{name: "artifacts", form: ref("artifacts"), doc: "Files that are kept after the task.", inactive: true},
		{name: "artifacts_dir", form: aText(), doc: "Where the artifacts of earlier tasks are put.", inactive: true},
		{name: "artifact_key_prefix", form: aText(), doc: "Put before the keys of artifacts.", inactive: true},
		{name: "dependent_artifact_ids", form: oneOrMore(aName()), doc: "Artifacts of other jobs that are put there too.", inactive: true},
		{name: "cache", form: ref("cache"), doc: "Files that later runs find again.", inactive: true},
		{name: "cache_dir", form: aText(), doc: "Where the archive of the cache is packed.", inactive: true},
		{name: "cost_factor", form: aNumber(0, 1e6), doc: "What a second of the task costs.", inactive: true},
		{name: "execute_command_without_shell", form: aFlag(), doc: "Executes each line of the script as a command.", inactive: true},
		{name: "debug", form: aFlag(), doc: "Keeps what the executor would remove.", inactive: true},
	}
}

func artifactFields() []field {
	return []field{
		{name: "paths", form: oneOrMore(aText()), doc: "Patterns of files in the working directory."},
		{name: "when", form: momentsForm(), doc: "After which outcomes; onSuccess when not given."},
		{name: "expires_after", form: aDuration(), doc: "When they are removed.", aliases: []string{"expire_after"}},
	}
}

func cacheFields() []field {
	return []field{
		{name: "key", form: aText(), doc: "The key under which the files are found again."},
		{name: "key_paths", form: oneOrMore(aText()), doc: "Files whose digest is the key.", aliases: []string{"keys"}},
		{name: "paths", form: oneOrMore(aText()), doc: "Files in the working directory that are kept."},
		{name: "expires_after", form: aDuration(), doc: "When the entry is removed.", aliases: []string{"expire_after"}},
	}
}

// limitFields are those of any container.
func limitFields() []field {
	return []field{
		{name: "cpu_limit", form: aCPU(), doc: "Processors at most, such as 2, 0.5 or 500m."},
		{name: "cpu_request", form: aCPU(), doc: "Processors that are set aside."},
		{name: "memory_limit", form: aMemory(), doc: "Memory at most, such as 512Mi or 1G."},
		{name: "memory_request", form: aMemory(), doc: "Memory that is set aside."},
		{name: "ephemeral_storage_limit", form: aMemory(), doc: "Disk at most."},
		{name: "ephemeral_storage_request", form: aMemory(), doc: "Disk that is set aside."},
	}
}

func containerFields() []field {
	limits := limitFields()
	for i := range limits {
		if limits[i].name != "cpu_limit" && limits[i].name != "memory_limit" { // any process has these
			limits[i].methods = podMethods()
		}
	}
	return append(ofPods(
		field{name: "image", form: anyOf(aText(), ref("image")), doc: "The image to run."},
		field{name: "imageDefinition", form: ref("image"), doc: "The image with alias, command, entrypoint and ports."},
		field{name: "image_definition", form: ref("image"), doc: "Another name of imageDefinition."},
		field{name: "volumes", form: volumesForm(), doc: "Volumes: kinds with lists (Kubernetes), or names with paths (Docker)."},
		field{name: "volume_driver", form: aText(), doc: "Docker's driver of named volumes."},
		field{name: "volumes_from", form: oneOrMore(aText()), doc: "Containers whose volumes are shared."},
		field{name: "devices", form: oneOrMore(aText()), doc: "Devices of the host."},
		field{name: "bind_dir", form: aText(), doc: "A directory of the host for the working directory."},
		field{name: "service_account", form: aText(), doc: "The account of the pod in the cluster."},
		field{name: "env_from", form: oneOrMore(ref("env_from")), doc: "Secrets and config maps whose entries become variables."},
		field{name: "env_value_from", form: oneOrMore(ref("env_value_from")), doc: "Single entries of secrets and config maps that become variables."},
	), limits...)
}

func imageFields() []field {
	return []field{
		{name: "name", form: aText(), doc: "The image."},
		{name: "alias", form: aText(), doc: "Another name of the container in the network."},
		{name: "command", form: oneOrMore(aText()), doc: "The command."},
		{name: "entrypoint", form: oneOrMore(aText()), doc: "The entry point."},
		{name: "ports", form: portsForm(), doc: "Ports that it listens on."},
	}
}

func portsForm() form { return oneOrMore(anyOf(aWhole(1, maxPort), ref("port"))) }

func portFields() []field {
	return []field{
		{name: "number", form: aWhole(1, maxPort), doc: "The number of the port."},
		{name: "protocol", form: aWord(protocols()...), doc: "TCP when not given."},
		{name: "name", form: aText(), doc: "The name of the port."},
	}
}

func serviceFields() []field {
	return append([]field{
		{name: "name", form: aText(), doc: "The name of the service."},
		{name: "instances", form: aWhole(1, maxServices), doc: "How many of it; each finds its number in SERVICE_INSTANCE."},
		{name: "alias", form: aText(), doc: "The host name under which it is reached."},
		{name: "working_directory", form: aText(), doc: "Its directory."},
		{name: "image", form: aText(), doc: "The image to run."},
		{name: "command", form: oneOrMore(aText()), doc: "The command."},
		{name: "entrypoint", form: oneOrMore(aText()), doc: "The entry point."},
		{name: "volumes", form: volumesForm(), doc: "Its volumes."},
		{name: "ports", form: portsForm(), doc: "Ports that it listens on."},
	}, limitFields()...)
}

func envFromFields() []field {
	reference := func() form { return anyOf(aText(), ref("reference")) }
	return []field{
		{name: "secret_ref", form: reference(), doc: "The secret."},
		{name: "config_map_ref", form: reference(), doc: "The config map."},
		{name: "prefix", form: aText(), doc: "Put before the names of the variables."},
	}
}

func envValueFields() []field {
	return []field{
		{name: "name", form: aText(), doc: "The name of the variable."},
		{name: "secret_name", form: aText(), doc: "The secret."},
		{name: "config_map_name", form: aText(), doc: "The config map."},
		{name: "key", form: aText(), doc: "The key in it."},
	}
}

func referenceFields() []field {
	return []field{{name: "name", form: aText(), doc: "The name of the secret or config map."}}
}

// volumesForm is the mapping of kinds and names, or Docker's list.
func volumesForm() form {
	properties := form{}
	for _, kind := range volumeKinds() {
		properties[kind] = anyOf(aText(), oneOrMore(ref("volume_"+kind)))
	}
	return anyOf(
		form{"type": "object", "properties": properties, "additionalProperties": aText()},
		oneOrMore(pattern(`^[^:]+:.`)),
	)
}

func volumeFields(kind string) []field {
	fields := []field{
		{name: "name", form: aText(), doc: "The name of the volume, or of what it is made of."},
		{name: "mount_path", form: aText(), doc: "The path in the container."},
		{name: "sub_path", form: aText(), doc: "The path in the volume."},
		{name: "read_only", form: aFlag(), doc: "Mounts it to read only."},
	}
	switch kind {
	case plan.VolumeHostPath:
		fields = append(fields, field{name: "host_path", form: aText(), doc: "The path on the node."})
	case plan.VolumeConfigMap, plan.VolumeSecret:
		fields = append(fields, field{name: "items", form: texts(), doc: "Keys that become files: key to path."})
	case plan.VolumeProjected:
		fields = append(fields, field{name: "sources", form: listOf(ref("source")), doc: "What is put into the volume."})
	case plan.VolumeEmptyDir:
		fields = append(fields, field{name: "medium", form: aWord("Memory"), doc: "Memory, or the disk when not given."})
	}
	return fields
}

func sourceFields() []field {
	item := func() form { return anyOf(aText(), ref("source_items")) }
	return []field{
		{name: "secret", form: item(), doc: "A secret."},
		{name: "config_map", form: item(), doc: "A config map."},
		{name: "service_account_token", form: ref("token"), doc: "A token of the pod's service account."},
	}
}

func sourceItemFields() []field {
	return []field{
		{name: "name", form: aText(), doc: "The name of the secret or config map."},
		{name: "items", form: texts(), doc: "Keys that become files: key to path."},
	}
}

func tokenFields() []field {
	return []field{
		{name: "audience", form: aText(), doc: "Who the token is for."},
		{name: "expiration_seconds", form: aWhole(minTokenSeconds, maxTokenSeconds), doc: "How long it is valid."},
		{name: "path", form: aText(), doc: "The path of the token in the volume."},
	}
}

func affinityFields() []field {
	return []field{
		{name: "node_affinity", form: ref("affinity"), doc: "The same, one level deeper."},
		{name: requiredAffinity, form: ref("required_affinity"), doc: "Terms of which one must hold."},
		{name: preferredAffinity, form: oneOrMore(ref("preferred_term")), doc: "Terms that add weight."},
	}
}

func requiredAffinityFields() []field {
	return []field{{name: "node_selector_terms", form: oneOrMore(ref("node_term")), doc: "Terms of which one must hold."}}
}

func preferredFields() []field {
	return []field{
		{name: "weight", form: aWhole(1, 100), doc: "What the term counts."},
		{name: "preference", form: ref("node_term"), doc: "The term."},
	}
}

func nodeTermFields() []field {
	return []field{
		{name: "match_expressions", form: oneOrMore(ref("node_expression")), doc: "Labels of the node."},
		{name: "match_fields", form: oneOrMore(ref("node_expression")), doc: "Fields of the node."},
	}
}

func nodeExpressionFields() []field {
	return []field{
		{name: "key", form: aText(), doc: "The label or field."},
		{name: "operator", form: aWord(nodeOperators()...), doc: "How it is compared; In when not given."},
		{name: "values", form: oneOrMore(aText()), doc: "What it is compared with."},
	}
}

func tolerationFields() []field {
	return []field{
		{name: "key", form: aText(), doc: "The key of the taint."},
		{name: "operator", form: aWord("Equal", "Exists"), doc: "How it is compared."},
		{name: "value", form: aText(), doc: "The value of the taint."},
		{name: "effect", form: aWord(taintEffects()...), doc: "The effect of the taint; all when not given."},
		{name: "toleration_seconds", form: aWhole(0, maxTokenSeconds), doc: "How long the pod stays after the taint appears."},
	}
}
