package jobspec

// Options are what executors of containers and pods, the artifacts and the cache are told. They are checked here and
// handed through.
type Options struct{}
