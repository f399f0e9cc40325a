// Package notify tells people and their programs what became of jobs: which messages a change makes, for whom, when they
// are tried again and when they are given up.
//
// A message is stored as a row for each recipient, in the transaction that makes the change, so nothing is told of what
// was not stored and nothing is forgotten. The id of a row is made of what is told and to whom; it travels with the
// message, so that a receiver knows one that comes twice.
//
//	PENDING ──▶ SENT          the receiver accepted it
//	   │ ▲
//	   │ └── after 5 s, 10 s … 10 min, or when the receiver says so
//	   └─────▶ FAILED         the receiver refused it, or nothing helped for an hour
//
// Who tries a delivery holds its lease. When the process ends between the sending and the storing, the lease ends and
// the delivery is sent again.
package notify
