package plan

import "time"

// Options are what executors of containers and pods, the artifacts and the cache are told. They are checked here and
// handed through. As the rest of Spec they hold what the rendering knew: of a task that is Late they are complete after
// Definition.Task only.
type Options struct {
	// Name of the container or pod; empty: the executor makes one of the attempt.
	Name string `json:"name,omitempty"`
	// Container runs the script, Helper moves artifacts and the cache beside it.
	Container *Container `json:"container,omitempty"`
	Helper    *Container `json:"helper,omitempty"`
	// Services run beside the task in the same pod.
	Services []Sidecar `json:"services,omitempty"`
	// Privileged runs the container with the rights of the host.
	Privileged bool `json:"privileged,omitempty"`
	// HostNetwork shares the network of the node; NetworkMode is Docker's (bridge, host, none, container:NAME).
	HostNetwork bool   `json:"host_network,omitempty"`
	NetworkMode string `json:"network_mode,omitempty"`
	// Affinity, NodeSelector and Tolerations decide on which nodes a pod may be.
	Affinity     *Affinity         `json:"affinity,omitempty"`
	NodeSelector map[string]string `json:"node_selector,omitempty"`
	Tolerations  []Toleration      `json:"node_tolerations,omitempty"`
	// PodLabels and PodAnnotations are added to those of the executor.
	PodLabels      map[string]string `json:"pod_labels,omitempty"`
	PodAnnotations map[string]string `json:"pod_annotations,omitempty"`
	// HelperEnvironment are variables of the helper.
	HelperEnvironment map[string]string `json:"helper_environment,omitempty"`
	// Artifacts are the files to keep; ArtifactsDir is where those of earlier tasks are put, empty: a directory of the
	// executor's choice. ArtifactKeyPrefix is put before their keys in the object store.
	Artifacts         *Artifacts `json:"artifacts,omitempty"`
	ArtifactsDir      string     `json:"artifacts_dir,omitempty"`
	ArtifactKeyPrefix string     `json:"artifact_key_prefix,omitempty"`
	// DependentArtifactIDs are artifacts of other jobs that are put there too.
	DependentArtifactIDs []string `json:"dependent_artifact_ids,omitempty"`
	// Cache are files that later runs find again; CacheDir is where its archive is packed.
	Cache    *Cache `json:"cache,omitempty"`
	CacheDir string `json:"cache_dir,omitempty"`
	// CostFactor is what a second of the task costs; 0: what the ant says.
	CostFactor float64 `json:"cost_factor,omitempty"`
	// WithoutShell executes the lines of the script as commands, each by itself.
	WithoutShell bool `json:"execute_command_without_shell,omitempty"`
	// Debug keeps what the executor would remove, as long as the ant allows.
	Debug bool `json:"debug,omitempty"`
}

// Container is one container of a task.
type Container struct {
	// Image to run; empty: the ant's default. Alias, command, entrypoint and ports are those of imageDefinition.
	Image      string   `json:"image,omitempty"`
	Alias      string   `json:"alias,omitempty"`
	Command    []string `json:"command,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Ports      []Port   `json:"ports,omitempty"`
	Limits
	Volumes      []Volume `json:"volumes,omitempty"`
	VolumeDriver string   `json:"volume_driver,omitempty"`
	// VolumesFrom are containers whose volumes are shared, Devices those of the host ("/dev/x[:/dev/y[:rwm]]").
	VolumesFrom []string `json:"volumes_from,omitempty"`
	Devices     []string `json:"devices,omitempty"`
	// BindDir is a directory of the host that the working directory is mounted from.
	BindDir string `json:"bind_dir,omitempty"`
	// User that runs it, as USER or USER:GROUP; empty: the image's.
	User string `json:"user,omitempty"`
	// ShmSize of /dev/shm in bytes, PIDsLimit of processes; 0: what the ant says.
	ShmSize   int64 `json:"shm_size,omitempty"`
	PIDsLimit int64 `json:"pids_limit,omitempty"`
	// ExtraHosts are names of hosts with their addresses.
	ExtraHosts map[string]string `json:"extra_hosts,omitempty"`
	// PullPolicy is one of the Pull constants; empty: what the ant says.
	PullPolicy     string `json:"pull_policy,omitempty"`
	ServiceAccount string `json:"service_account,omitempty"`
	// EnvFrom takes all entries of secrets and config maps of the cluster, EnvValueFrom single ones.
	EnvFrom      []EnvFrom      `json:"env_from,omitempty"`
	EnvValueFrom []EnvValueFrom `json:"env_value_from,omitempty"`
}

// When the image of a container is pulled.
const (
	PullAlways  = "always"
	PullMissing = "if-not-present"
	PullNever   = "never"
)

// Limits of a container. Processors are in thousandths of a core, sizes in bytes; 0 means not given.
type Limits struct {
	CPULimit         int64 `json:"cpu_limit,omitempty"`
	CPURequest       int64 `json:"cpu_request,omitempty"`
	MemoryLimit      int64 `json:"memory_limit,omitempty"`
	MemoryRequest    int64 `json:"memory_request,omitempty"`
	EphemeralLimit   int64 `json:"ephemeral_storage_limit,omitempty"`
	EphemeralRequest int64 `json:"ephemeral_storage_request,omitempty"`
}

// Port that a container listens on.
type Port struct {
	Number int `json:"number"`
	// Protocol is TCP, UDP or SCTP.
	Protocol string `json:"protocol"`
	Name     string `json:"name,omitempty"`
}

// EnvFrom takes the entries of one secret or config map as variables whose names begin with Prefix.
type EnvFrom struct {
	Secret    string `json:"secret_ref,omitempty"`
	ConfigMap string `json:"config_map_ref,omitempty"`
	Prefix    string `json:"prefix,omitempty"`
}

// EnvValueFrom takes one entry of a secret or config map as the variable Name.
type EnvValueFrom struct {
	Name      string `json:"name"`
	Secret    string `json:"secret_name,omitempty"`
	ConfigMap string `json:"config_map_name,omitempty"`
	Key       string `json:"key"`
}

// Sidecar is a container that runs beside the task and is reachable by its alias.
type Sidecar struct {
	Name string `json:"name"`
	// Instances of it, at least 1; each finds its number in SERVICE_INSTANCE.
	Instances        int      `json:"instances"`
	Alias            string   `json:"alias,omitempty"`
	WorkingDirectory string   `json:"working_directory,omitempty"`
	Image            string   `json:"image"`
	Command          []string `json:"command,omitempty"`
	Entrypoint       []string `json:"entrypoint,omitempty"`
	Volumes          []Volume `json:"volumes,omitempty"`
	Ports            []Port   `json:"ports,omitempty"`
	// Environment is all that the service gets: nothing of the task's.
	Environment map[string]string `json:"environment,omitempty"`
	Limits
}

// Kinds of volumes. The first six are those of Kubernetes, the last two Docker's.
const (
	VolumeHostPath  = "host_path"
	VolumePVC       = "pvc"
	VolumeConfigMap = "config_map"
	VolumeSecret    = "secret"
	VolumeProjected = "projected"
	VolumeEmptyDir  = "empty_dir"
	VolumeBind      = "bind"
	VolumeNamed     = "volume"
)

// Volume is a directory or file that a container sees at MountPath.
type Volume struct {
	// Kind is one of the Volume constants.
	Kind string `json:"kind"`
	// Name of the claim, config map, secret or volume; of other kinds any name that is unique in the task.
	Name      string `json:"name,omitempty"`
	MountPath string `json:"mount_path"`
	SubPath   string `json:"sub_path,omitempty"`
	ReadOnly  bool   `json:"read_only,omitempty"`
	// HostPath of host_path and bind.
	HostPath string `json:"host_path,omitempty"`
	// Items are the keys of a config map or secret that become files: key to path; empty: all.
	Items map[string]string `json:"items,omitempty"`
	// Medium of empty_dir: empty for the disk, or Memory.
	Medium string `json:"medium,omitempty"`
	// Sources of projected.
	Sources []VolumeSource `json:"sources,omitempty"`
}

// VolumeSource is one source of a projected volume: a secret, a config map or a token.
type VolumeSource struct {
	Secret    string            `json:"secret,omitempty"`
	ConfigMap string            `json:"config_map,omitempty"`
	Items     map[string]string `json:"items,omitempty"`
	Token     *TokenSource      `json:"service_account_token,omitempty"`
}

// TokenSource is a token of the pod's service account for an audience.
type TokenSource struct {
	Audience          string `json:"audience,omitempty"`
	ExpirationSeconds int64  `json:"expiration_seconds,omitempty"`
	Path              string `json:"path"`
}

// Affinity to nodes: one of the required terms must hold, preferred ones add weight.
type Affinity struct {
	Required  []NodeTerm      `json:"required,omitempty"`
	Preferred []PreferredTerm `json:"preferred,omitempty"`
}

// NodeTerm holds when all its expressions do.
type NodeTerm struct {
	Expressions []NodeExpression `json:"match_expressions,omitempty"`
	Fields      []NodeExpression `json:"match_fields,omitempty"`
}

// NodeExpression compares a label or field of a node.
type NodeExpression struct {
	Key string `json:"key"`
	// Operator is In, NotIn, Exists, DoesNotExist, Gt or Lt.
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// PreferredTerm is a term with a weight of 1 to 100.
type PreferredTerm struct {
	Weight int      `json:"weight"`
	Term   NodeTerm `json:"preference"`
}

// Toleration lets a pod run on nodes with a taint.
type Toleration struct {
	// Key of the taint; empty: all.
	Key string `json:"key,omitempty"`
	// Operator is Equal or Exists.
	Operator string `json:"operator"`
	Value    string `json:"value,omitempty"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute; empty: all.
	Effect string `json:"effect,omitempty"`
	// Seconds that a pod stays after a NoExecute taint appears; 0: for ever.
	Seconds int64 `json:"toleration_seconds,omitempty"`
}

// Artifacts are files of a task that are kept after it.
type Artifacts struct {
	// Paths are patterns inside the working directory.
	Paths []string `json:"paths"`
	// When is one of OnSuccess (the default), OnFailure, Always and Never.
	When string `json:"when"`
	// ExpiresAfter removes them; 0: what the server says.
	ExpiresAfter time.Duration `json:"expires_after,omitempty"`
	// Optional says that a path may match nothing.
	Optional bool `json:"optional,omitempty"`
}

// Cache are files that later runs of the job find again under the same key.
type Cache struct {
	// Key as written; with KeyPaths what comes before their digest.
	Key string `json:"key,omitempty"`
	// KeyPaths are patterns of files inside the working directory whose digest is the end of the key.
	KeyPaths []string `json:"key_paths,omitempty"`
	// RestoreKeys are beginnings of other keys, in the order in which they are looked for.
	RestoreKeys []string `json:"restore_keys,omitempty"`
	// Paths are patterns inside the working directory of what is kept.
	Paths []string `json:"paths"`
	// ExpiresAfter removes the entry; 0: what the server says.
	ExpiresAfter time.Duration `json:"expires_after,omitempty"`
}
