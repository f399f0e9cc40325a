// Package auditlog writes down who did what: one event for every call that may change something and for every audited
// read, in a chain of hashes that nobody can change unseen.
//
//	call begins ──► intent stored (beside the call, many in one transaction)
//	call ends   ──► the answer waits for the intent ──► outcome joined ──► sealed into the chain (many at once)
//	gateway dies ─► its intents are not touched any more ──► sealed with the outcome UNKNOWN
//
// So an answer is never given without its event, there is exactly one for a call whatever is killed, and a call pays
// no more than the slower of the two. An intent that cannot be stored withholds the answer, is sealed as soon as the
// database is back, and from then on calls begin only after their intents are stored, until one was. What is lost is
// the event of a call under way when both the database and then the gateway die.
//
// Calls of nobody (logins) are written when they have ended; those that fail, and refusals, are bounded by address, so
// that the log cannot be flooded from outside.
//
// An event holds names and digests, never a value: no secret, parameter or log. Digests are keyed, so that a short value
// cannot be guessed by who reads the log.
//
// The chain proves itself to whoever holds an end of it from elsewhere: Verify prints one, the metric formicary_audit_seq
// grows with it, and the table audit_checkpoint holds ends that are signed with the key of the gateway's certificate.
package auditlog
