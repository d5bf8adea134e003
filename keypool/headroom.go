package keypool

import "time"

// spare is how much of its tightest rate limit the key would have left after this
// call: below zero it cannot take the call now. What is not known is taken for full.
func (w *walk) spare(*member, time.Time) float64 { return 1 }
