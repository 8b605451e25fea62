package observability

import (
	"errors"
	"sync"
	"time"
)

// errQueueFull is why a line is dropped when the writer does not keep up.
var errQueueFull = errors.New("more records wait to be written than the queue takes")

const (
	// queueBytes bounds the lines that wait, beside their number. One line
	// always fits into an empty queue.
	queueBytes = 16 << 20
	// gatherTime is how long the writer lets lines gather: each waking of a
	// goroutine costs more than a line does.
	gatherTime = 10 * time.Millisecond
	// blockBytes is the size of a block, and so of most writes.
	blockBytes = 128 << 10
)

// queue holds lines in blocks until the writer takes them all. Blocks are used
// again: the lines themselves cost the collector nothing.
type queue struct {
	limit int
	wake  chan struct{}

	mu     sync.Mutex
	blocks []*block // the last one is being filled
	bytes  int      // in blocks, and in those that the writer has
	count  int      // of lines in both
	free   []*block

	taken, takenBytes int // what the writer has
}

// block is lines, one after another.
type block struct {
	lines []byte
	notes []note
}

// note says that the line that ends at an offset announces a gap.
type note struct {
	end int
	gap gap
}

// add puts a line into the queue unless it is full. It never waits for the
// writer.
func (q *queue) add(object []byte, losses *losses) bool {
	q.mu.Lock()
	if q.count >= q.limit || q.bytes > 0 && q.bytes+len(object) > queueBytes {
		q.mu.Unlock()
		return false
	}
	missing := losses.take()
	before := len(q.blocks)
	b := q.room(len(object) + noteLen)
	start := len(b.lines)
	b.lines = appendLine(b.lines, object, missing)
	if missing != (gap{}) {
		b.notes = append(b.notes, note{len(b.lines), missing})
	}
	q.bytes += len(b.lines) - start
	q.count++
	// Once when there is something, and again when there is much.
	wake := before == 0 || before == 1 && len(q.blocks) == 2 || q.count-q.taken == q.limit/2
	q.mu.Unlock()
	if wake {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// room returns a block with room for n bytes.
func (q *queue) room(n int) *block {
	if len(q.blocks) > 0 {
		if b := q.blocks[len(q.blocks)-1]; cap(b.lines)-len(b.lines) >= n {
			return b
		}
	}
	var b *block
	if last := len(q.free) - 1; last >= 0 && n <= blockBytes {
		b, q.free = q.free[last], q.free[:last]
	} else {
		b = &block{lines: make([]byte, 0, max(n, blockBytes))}
	}
	q.blocks = append(q.blocks, b)
	return b
}

// take empties the queue. The blocks go back with written.
func (q *queue) take() []*block {
	q.mu.Lock()
	defer q.mu.Unlock()
	blocks := q.blocks
	q.blocks, q.taken, q.takenBytes = nil, q.count, q.bytes
	return blocks
}

// written gives back the blocks that take returned. Those that a burst has left
// behind are given up one by one in quiet times.
func (q *queue) written(blocks []*block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count -= q.taken
	q.bytes -= q.takenBytes
	q.taken, q.takenBytes = 0, 0
	for _, b := range blocks {
		if cap(b.lines) == blockBytes {
			b.lines, b.notes = b.lines[:0], b.notes[:0]
			q.free = append(q.free, b)
		}
	}
	if last := len(q.free) - 1; len(blocks) == 1 && last >= 2 {
		q.free[last] = nil
		q.free = q.free[:last]
	}
}

// waiting is how many lines were not written yet.
func (q *queue) waiting() int {
	if q == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// writeQueue writes what is queued until the log is closed.
func (f *LogFile) writeQueue() {
	defer close(f.done)
	pause := time.NewTimer(gatherTime)
	defer pause.Stop()
	for {
		select {
		case <-f.queue.wake:
		case <-f.closing:
			f.writeTaken()
			return
		}
		pause.Reset(gatherTime)
		select {
		case <-pause.C:
		case <-f.queue.wake:
		case <-f.closing:
		}
		f.writeTaken()
	}
}

// writeTaken writes what is in the queue.
func (f *LogFile) writeTaken() {
	blocks := f.queue.take()
	for _, b := range blocks {
		f.writeBlock(b)
	}
	f.queue.written(blocks)
}

func (f *LogFile) writeBlock(b *block) {
	f.io.Lock()
	n, err := f.sink.writeLines(b.lines)
	trouble := f.sink.trouble()
	f.io.Unlock()
	start, lost := unwritten(b.lines, n)
	for _, note := range b.notes {
		if note.end > start { // who should have announced these is lost as well
			f.losses.giveBack(note.gap)
		}
	}
	f.settle(lost, err, trouble)
}
