package request

// State is what people see of a request.
type State string

// The states. The last four are terminal.
const (
	Pending   State = "PENDING"
	Ready     State = "READY"
	Executing State = "EXECUTING"
	Paused    State = "PAUSED"
	Manual    State = "MANUAL_APPROVAL_REQUIRED"
	Completed State = "COMPLETED"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
	Skipped   State = "SKIPPED"
)

// Terminal says that nothing but a restart leaves the state.
func (s State) Terminal() bool {
	switch s {
	case Completed, Failed, Cancelled, Skipped:
		return true
	default:
		return false
	}
}

// States lists all of them.
func States() []State {
	return []State{Pending, Ready, Executing, Paused, Manual, Completed, Failed, Cancelled, Skipped}
}

// Active says that the request counts against the concurrency limit of its job type.
func (s State) Active() bool { return s == Ready || s == Executing }

// Move is an allowed change of state.
type Move struct {
	From, To State
	// NewRun moves begin the next run; all others stay in theirs.
	NewRun bool
}

// Moves lists all allowed moves. The table move of the schema holds the same and its trigger refuses all others.
func Moves() []Move {
	var moves []Move
	for _, from := range States() {
		for _, to := range States() {
			for _, newRun := range []bool{false, true} {
				if m := (Move{From: from, To: to, NewRun: newRun}); allowed(m) {
					moves = append(moves, m)
				}
			}
		}
	}
	return moves
}

func allowed(m Move) bool {
	if m.NewRun {
		// The next run begins PAUSED where a person asked for that while the last one was under way.
		return m.To == Pending || m.To == Paused && (m.From.Active() || m.From == Manual)
	}
	switch m.From {
	case Pending:
		return m.To == Ready || m.To == Paused || m.To.Terminal()
	case Ready:
		return m.To == Executing || m.To == Paused || m.To == Manual || m.To.Terminal()
	case Executing:
		return m.To == Paused || m.To == Manual || m.To.Terminal()
	case Paused:
		return m.To == Pending || m.To == Manual || m.To.Terminal()
	case Manual:
		return m.To == Pending || m.To == Paused || m.To.Terminal()
	default:
		return false
	}
}
