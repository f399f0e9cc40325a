package api

const defaultPage = 50

func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPage
	}
	return int(asked)
}

// page cuts a list that was read one longer than the page, and returns the last item that stays.
func page[T any](list []T, size int) (kept []T, last T, more bool) {
	if len(list) <= size {
		return list, last, false
	}
	return list[:size], list[size-1], true
}
