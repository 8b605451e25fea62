package recording

// Remembered redacts schema messages one after the other, and returns how many bytes
// are remembered of them.
func Remembered(messages ...[]byte) int {
	r, n := newRedactor(), 0
	for _, m := range messages {
		r.schema(m)
	}
	for message, clean := range r.schemas {
		n += len(message) + len(clean)
	}
	return n
}
