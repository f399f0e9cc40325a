package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Methods by which an ant, or the engine itself, executes a task.
const (
	MethodKubernetes      = "KUBERNETES"
	MethodDocker          = "DOCKER"
	MethodShell           = "SHELL"
	MethodHTTPGet         = "HTTP_GET"
	MethodHTTPPostForm    = "HTTP_POST_FORM"
	MethodHTTPPostJSON    = "HTTP_POST_JSON"
	MethodHTTPPutForm     = "HTTP_PUT_FORM"
	MethodHTTPPutJSON     = "HTTP_PUT_JSON"
	MethodHTTPPatch       = "HTTP_PATCH"
	MethodHTTPDelete      = "HTTP_DELETE"
	MethodWebsocket       = "WEBSOCKET"
	MethodMessaging       = "MESSAGING"
	MethodManual          = "MANUAL"
	MethodForkJob         = "FORK_JOB"
	MethodAwaitForkedJob  = "AWAIT_FORKED_JOB"
	MethodFanOutJob       = "FAN_OUT_JOB"
	MethodExpireArtifacts = "EXPIRE_ARTIFACTS"
	MethodWait            = "WAIT"
)

// DefaultMethod executes a task that names none.
const DefaultMethod = MethodKubernetes

// Methods lists every method of the language, those that this version does not run included.
func Methods() []string {
	return []string{
		MethodKubernetes, MethodDocker, MethodShell, MethodHTTPGet, MethodHTTPPostForm, MethodHTTPPostJSON,
		MethodHTTPPutForm, MethodHTTPPutJSON, MethodHTTPPatch, MethodHTTPDelete, MethodWebsocket, MethodMessaging,
		MethodManual, MethodForkJob, MethodAwaitForkedJob, MethodFanOutJob, MethodExpireArtifacts, MethodWait,
	}
}

// NeedsAnt reports whether tasks of the method are executed by ants; the others are done by the engine and hold no slot.
func NeedsAnt(method string) bool {
	switch method {
	case MethodManual, MethodForkJob, MethodAwaitForkedJob, MethodFanOutJob, MethodExpireArtifacts, MethodWait:
		return false
	}
	return true
}

// IsHTTP reports whether the method is one request to a URL.
func IsHTTP(method string) bool {
	switch method {
	case MethodHTTPGet, MethodHTTPPostForm, MethodHTTPPostJSON, MethodHTTPPutForm, MethodHTTPPutJSON, MethodHTTPPatch,
		MethodHTTPDelete:
		return true
	}
	return false
}

// GivesBody reports whether what a task of the method answers becomes the variable ResultVar.
func GivesBody(method string) bool { return IsHTTP(method) }

// ResultVar names the variable that holds the body which the HTTP task of a name was answered with. Of an item of a
// fan-out it is one of its outputs, by the name of the task.
func ResultVar(task string) string { return task + "_result" }

// ArtifactVar names the variable that holds the address of the n-th artifact, counted from 1, of a task. Of a fan-out
// they are those of its items, of a task that forks those of its child.
func ArtifactVar(task string, n int) string { return task + artifactInfix + strconv.Itoa(n) }

// ArtifactOf returns the task, and the number of its artifact, whose address a variable is.
func ArtifactOf(variable string) (task string, n int, ok bool) {
	task, number, ok := strings.Cut(variable, artifactInfix)
	if !ok || task == "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return "", 0, false
	}
	n, err := strconv.Atoi(number)
	return task, n, err == nil
}

// MostArtifacts bounds how many artifacts of a task have such a variable.
const MostArtifacts = 100

// ArtifactsIn returns the addresses of artifacts among outputs, each once, in the order of their tasks' names and numbers.
func ArtifactsIn(outputs map[string]string) []string {
	type place struct {
		task string
		n    int
	}
	var places []place
	for name := range outputs {
		if task, n, ok := ArtifactOf(name); ok {
			places = append(places, place{task, n})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(strings.Compare(a.task, b.task), a.n-b.n) })
	var addresses []string
	for _, p := range places {
		address := outputs[ArtifactVar(p.task, p.n)]
		if len(addresses) < MostArtifacts && !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

const artifactInfix = "_ArtifactURL_"

// IsScript reports whether the method runs script lines.
func IsScript(method string) bool {
	return method == MethodShell || method == MethodDocker || method == MethodKubernetes
}

// SecretMethods are the methods whose tasks get secrets. What workers are told goes over ways that keep it.
func SecretMethods() []string {
	return []string{
		MethodShell, MethodDocker, MethodKubernetes, MethodHTTPGet, MethodHTTPPostForm, MethodHTTPPostJSON, MethodHTTPPutForm, MethodHTTPPutJSON,
		MethodHTTPPatch, MethodHTTPDelete,
	}
}
