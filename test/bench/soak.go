package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	soakVariants = 512
	soakWidth    = 64
	refuseEvery  = 8 // streams: the first key is refused one
	stampLength  = 12
	soakTold     = 3 // differences that are shown
)

// soakStreams are streams that differ in all that a relay could trip over. The
// mock and the driver make the same ones, each with its number stamped on it in
// two places, so that nothing of one stream can stand for another's.
type soakStreams []soakStream

type soakStream struct {
	body   []byte
	stamps [2]int // where the number goes
	cuts   []int  // where the chunks end
}

func newSoakStreams() soakStreams {
	rnd := rand.New(rand.NewPCG(3, 14)) //nolint:gosec // the same for both
	all := make(soakStreams, soakVariants)
	for i := range all {
		all[i] = newSoakStream(rnd, i)
	}
	return all
}

func newSoakStream(rnd *rand.Rand, i int) soakStream {
	var s soakStream
	end := []string{"\n", "\r\n"}[i%2]
	stamp := strings.Repeat("0", stampLength)
	add := func(e []byte) {
		e = bytes.ReplaceAll(bytes.TrimRight(e, "\n"), []byte("\n"), []byte(end))
		s.body = append(append(s.body, e...), end+end...)
	}
	number := func(at int) {
		e := event(`[{"index":0,"delta":{"content":"#`+stamp+`"},"finish_reason":null}]`, "null")
		s.stamps[at] = len(s.body) + bytes.IndexByte(e, '#') + 1
		add(e)
	}
	if i%7 == 0 {
		add([]byte(": a comment before everything"))
	}
	if i%3 > 0 {
		add(event(`[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]`, "null"))
	}
	number(0)
	for range rnd.IntN(60) {
		switch rnd.IntN(12) {
		case 0:
			add([]byte(":"))
		case 1: // two data lines make one event
			e := event(`[{"index":0,"delta":{"content":"two\nlines"},"finish_reason":null}]`, "null")
			add(bytes.Replace(e, []byte(`,"choices"`), []byte(",\ndata: \"choices\""), 1))
		case 2:
			add(event(`[{"index":0,"delta":{"content":"`+strings.Repeat("größer → ", rnd.IntN(2000))+`"},"finish_reason":null}]`, "null"))
		default:
			add(event(`[{"index":0,"delta":{"content":" word\" \\ é"},"finish_reason":null}]`, "null"))
		}
	}
	number(1)
	add(event(`[{"index":0,"delta":{},"finish_reason":"stop"}]`, "null"))
	add([]byte("data: [DONE]"))
	for at := 0; at < len(s.body); {
		at = min(at+1+rnd.IntN(1+rnd.IntN(8000)), len(s.body))
		s.cuts = append(s.cuts, at)
	}
	return s
}

// send sends stream n in its chunks, some of them on their own.
func (all soakStreams) send(conn net.Conn, n int) error {
	s := &all[n%len(all)]
	body := bytes.Clone(s.body)
	for _, at := range s.stamps {
		copy(body[at:], fmt.Appendf(nil, "%0*d", stampLength, n))
	}
	out := head(200, "text/event-stream; charset=utf-8", -1, "")
	from := 0
	for i, to := range s.cuts {
		out = append(out, chunked(body[from:to])...)
		from = to
		if (n+i)%5 == 0 {
			if _, err := conn.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	_, err := conn.Write(append(out, lastChunk...))
	return err
}

// check compares what came with what was sent.
func (all soakStreams) check(body []byte, n int) error {
	s := &all[n%len(all)]
	from := 0
	for _, at := range s.stamps {
		if len(body) < at+stampLength || !bytes.Equal(body[from:at], s.body[from:at]) || string(body[at:at+stampLength]) != fmt.Sprintf("%0*d", stampLength, n) {
			return errAltered
		}
		from = at + stampLength
	}
	if !bytes.Equal(body[from:], s.body[from:]) {
		return errAltered
	}
	return nil
}

var errAltered = errors.New("it is not what was sent")

// soak sends n streams through Keybridge and compares each byte for byte.
func (r *rig) soak(n int) error {
	s, err := r.begin(keybridge, "soak")
	if err != nil {
		return err
	}
	defer s.stop()
	streams, started := newSoakStreams(), time.Now()
	var ended, lost, altered atomic.Int64
	tell := time.NewTicker(10 * time.Second)
	defer tell.Stop()
	err = s.flood(n, soakWidth, func(i int) error {
		switch fault := s.soaked(streams, i); {
		case errors.Is(fault, errAltered):
			if altered.Add(1) <= soakTold {
				r.say("altered: stream %d\n", i)
			}
		case fault != nil:
			if r.ctx.Err() != nil || s.alive() != nil {
				return errors.Join(fault, s.alive())
			}
			if lost.Add(1) <= soakTold {
				r.say("lost: stream %d: %v\n", i, fault)
			}
		}
		done := ended.Add(1)
		select {
		case <-tell.C:
			r.say("%d of %d streams, %.0f per second\n", done, n, float64(done)/time.Since(started).Seconds())
		default:
		}
		return nil
	})
	_, peak, merr := s.memory()
	r.say("%d streams of %d, %d lost, %d altered; %d with failover; peak memory %.0f MiB; %s\n", ended.Load(), n,
		lost.Load(), altered.Load(), (ended.Load()+refuseEvery-1)/refuseEvery, mib(peak), time.Since(started).Round(time.Second))
	if err = errors.Join(err, merr); err == nil && lost.Load()+altered.Load() > 0 {
		err = errors.New("streams were lost or altered")
	}
	return err
}

// soaked gets and checks one stream.
func (s *subject) soaked(streams soakStreams, n int) error {
	c, err := s.take()
	if err != nil {
		return err
	}
	resp, err := c.begin(request(fmt.Sprintf("%s/v1/chat/completions?stream=%d", soakPath, n), soakPrompt))
	if err != nil {
		c.close()
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.close()
		return err
	}
	s.give(c)
	return streams.check(body, n)
}

var soakPrompt = prompt(1000, true) //nolint:gochecknoglobals // constant
