package pg

// The statements whose plans the tests look at.
const (
	TakeWanted       = takeWanted + `SELECT FROM taken`
	TakeWantedChores = takeWantedChores + `SELECT FROM taken`
	TakeCancels      = takeCancels + `SELECT FROM taken`
	TakeEndedChores  = takeEndedChores + `SELECT FROM taken`
)
