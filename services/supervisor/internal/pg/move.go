package pg

import "github.com/formicary/formicary/services/supervisor/internal/engine"

// Moves are all that the table `move` allows: those of the engine, and those of what stands beside it.
func Moves() []engine.Move {
	all := engine.Moves()
	add := func(entity, from string, to ...string) {
		for _, state := range to {
			all = append(all, engine.Move{Entity: entity, From: from, To: state})
		}
	}
	add("child", childWanted, childSubmitted, childRefused, childCancelWanted, childEnded)
	add("child", childSubmitted, childCancelWanted, childEnded)
	add("child", childCancelWanted, childCancelling, childEnded)
	add("child", childCancelling, childEnded)
	add("approval", "PENDING", "APPROVED", "REJECTED", "CANCELLED")
	return all
}
