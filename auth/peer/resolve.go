package peer

import (
	"context"
	"fmt"
	"slices"
)

// answer is what a provider has returned, or that it has not.
type answer struct {
	index    int
	result   Result
	panicked bool
}

// resolve asks all providers at once, for as long as the timeout says. Whoever
// has not answered by then is unavailable, and goes on holding its place until it
// returns. An answer that was there in time counts, whoever else was late.
func (a *Authenticator) resolve(ctx context.Context, s *Snapshot) (*Evidence, error) {
	var answers chan answer
	if a.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.opts.Timeout)
		defer cancel()
		answers = make(chan answer, len(a.opts.Providers))
	}
	results := make(map[string]Result, len(a.opts.Providers))
	started := 0
	for i, p := range a.opts.Providers {
		results[p.Name()] = Result{Status: Unavailable}
		if _, local := p.(Local); local {
			continue
		}
		select {
		case a.places <- struct{}{}:
		default:
			continue
		}
		started++
		go func() {
			defer func() { <-a.places }()
			answers <- ask(ctx, i, p, s)
		}()
	}
	for i, p := range a.opts.Providers {
		if _, local := p.(Local); local {
			if err := a.take(results, ask(ctx, i, p, s)); err != nil {
				return nil, err
			}
		}
	}
	return a.collect(ctx, results, answers, started)
}

// collect waits for so many answers, or the end of ctx.
func (a *Authenticator) collect(ctx context.Context, results map[string]Result, answers <-chan answer, n int) (*Evidence, error) {
	for range n {
		var got answer
		select {
		case got = <-answers:
		default:
			select {
			case got = <-answers:
			case <-ctx.Done():
				select { // what is there counts, however late it is looked at
				case got = <-answers:
				default:
					return newEvidence(results)
				}
			}
		}
		if err := a.take(results, got); err != nil {
			return nil, err
		}
	}
	return newEvidence(results)
}

// take puts an answer among the results.
func (a *Authenticator) take(results map[string]Result, got answer) error {
	name := a.opts.Providers[got.index].Name()
	if got.panicked {
		return fmt.Errorf("peer: provider %q panicked", name)
	}
	got.result.Identities = slices.Clone(got.result.Identities)
	results[name] = got.result
	return nil
}

// ask asks one provider. What it panics with may hold evidence, and is dropped.
func ask(ctx context.Context, i int, p Provider, s *Snapshot) (out answer) {
	defer func() {
		if recover() != nil {
			out = answer{index: i, panicked: true}
		}
	}()
	return answer{index: i, result: p.Resolve(ctx, s)}
}
