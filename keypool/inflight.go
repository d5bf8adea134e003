package keypool

// InFlight is how many leases of the pool's keys are handed out and not yet given
// back, by whichever pool of the provider handed them out.
func (p *Pool) InFlight() int {
	if p.borrowed {
		return 0
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	n := 0
	for _, m := range p.members {
		n += m.key.inflight
	}
	return n
}
