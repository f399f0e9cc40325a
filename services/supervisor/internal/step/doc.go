// Package step is the application beside the engine: it brings what happens to runs to the engine and what the engine
// decided to the store. A batch of events is one transaction: the runs are locked and loaded by neighbourhood, all of them
// advance side by side, what the engine needs is loaded in rounds, one round trip each, and what changed is saved. Launches,
// dispatches and votes are transactions of the same kind.
//
// It knows no SQL. Store and Tx say what it wants of a database; package steptest holds one in memory and the suite that every
// implementation has to pass.
package step
