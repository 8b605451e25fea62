package observability

// Waiting is how many records wait to be written in the background.
func (l *AccessLog) Waiting() int { return l.file.queue.waiting() }
