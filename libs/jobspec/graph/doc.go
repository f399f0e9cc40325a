// Package graph checks what the tasks of a job say of each other: edges and their targets, cycles, tasks that can never
// start, tasks named elsewhere than in edges, and jobs that submit themselves.
package graph
