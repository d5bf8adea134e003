package keypool

import "net/http"

func (l *Lease) observe(http.Header) {}
