package pages

// Places hands out the numbers of records that stand beside the pages.
type Places struct {
	Number int32 // all that were ever used
	Free   []int32
}

// Take returns a number that is free.
func (p *Places) Take() int32 {
	if n := len(p.Free); n > 0 {
		place := p.Free[n-1]
		p.Free = p.Free[:n-1]
		return place
	}
	p.Number++
	return p.Number - 1
}
