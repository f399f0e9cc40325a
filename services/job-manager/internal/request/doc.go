// Package request is the life of a job request: the states it can show, the moves between them, what people may ask of
// it, and how it follows the execution of its run.
//
// A request waits in state PENDING until the leading scheduler admits it. From then on supervisor owns what happens and
// the request mirrors it: every change of the execution arrives as an Execution with the run and a version, and the pair
// (run, version) decides which of two is newer. Whatever is not newer than what was mirrored changes nothing, so events
// may come twice, late or not at all; what was lost is asked for by the reconciler.
//
// Everything here is pure: time is passed in, nothing is stored or sent. A change leaves events behind, which the store
// writes in the same transaction as the record.
package request
