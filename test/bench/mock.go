package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// mock is the upstream: a raw HTTP/1.1 server with answers made beforehand, so that
// it costs next to nothing beside what is measured. The first element of a path
// says how it answers.
type mock struct {
	answers     answers
	connections atomic.Int64
	requests    atomic.Int64

	mu   sync.Mutex
	idle map[net.Conn]struct{} // streams that say no more
}

const pace = 20 * time.Millisecond // between two events of a paced stream

func mockRole(args []string) error {
	f := flag.NewFlagSet("mock", flag.ContinueOnError)
	listen := f.String("listen", "127.0.0.1:0", "address")
	if err := f.Parse(args); err != nil {
		return err
	}
	var c net.ListenConfig
	ln, err := c.Listen(context.Background(), "tcp", *listen)
	if err != nil {
		return err
	}
	m := &mock{answers: newAnswers(), idle: map[net.Conn]struct{}{}}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		m.connections.Add(1)
		go m.serve(conn)
	}
}

func (m *mock) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nobody is left to tell
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		q, err := readHead(r)
		if err != nil {
			return
		}
		if _, err = r.Discard(q.length); err != nil {
			return
		}
		if err = m.answer(conn, r, q); err != nil || q.last {
			return
		}
	}
}

func (m *mock) answer(conn net.Conn, r *bufio.Reader, q query) error {
	a := &m.answers
	if q.kind != countersPath && q.kind != releasePath {
		m.requests.Add(1)
	}
	out := a.blocking
	switch q.kind {
	case countersPath:
		out = plain(200, fmt.Sprintf("%d %d", m.connections.Load(), m.requests.Load()))
	case releasePath:
		m.release()
		out = plain(200, "")
	case streamPath:
		out = a.stream
	case refusePath:
		if q.first {
			out = a.tooLarge
		}
	case soakPath:
		if q.first && q.stream%refuseEvery == 0 {
			out = a.tooLarge
			break
		}
		return a.soak.send(conn, q.stream)
	case pacedPath:
		return m.paced(conn)
	case idlePath:
		return m.wait(conn, r)
	}
	_, err := conn.Write(out)
	return err
}

func (m *mock) paced(conn net.Conn) error {
	next := time.NewTicker(pace)
	defer next.Stop()
	for i, event := range m.answers.paced {
		if i > 0 {
			<-next.C
		}
		if _, err := conn.Write(event); err != nil {
			return err
		}
	}
	return nil
}

// wait begins a stream and leaves it at that.
func (m *mock) wait(conn net.Conn, r *bufio.Reader) error {
	m.mu.Lock()
	m.idle[conn] = struct{}{}
	m.mu.Unlock()
	_, err := conn.Write(m.answers.idle)
	if err == nil {
		_, err = r.ReadByte()
	}
	m.mu.Lock()
	delete(m.idle, conn)
	m.mu.Unlock()
	return errors.Join(err, errEnded)
}

var errEnded = errors.New("the stream was not to be ended")

// release resets the idle streams: no address is left waiting for late packets.
func (m *mock) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.idle {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// query is what the mock understands of a request.
type query struct {
	kind   string
	stream int  // ?stream=
	first  bool // it came with the first key
	length int
	last   bool
}

// readHead reads a request's head.
func readHead(r *bufio.Reader) (query, error) {
	var q query
	line, err := r.ReadSlice('\n')
	if err != nil {
		return q, err
	}
	_, target, _ := bytes.Cut(line, []byte(" /"))
	target, _, _ = bytes.Cut(target, []byte(" "))
	path, search, _ := bytes.Cut(target, []byte("?"))
	kind, _, _ := bytes.Cut(path, []byte("/"))
	q.kind = string(kind)
	if n, ok := bytes.CutPrefix(search, []byte("stream=")); ok {
		if q.stream, err = strconv.Atoi(string(n)); err != nil {
			return q, err
		}
	}
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return q, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			return q, nil
		}
		if err = q.header(line); err != nil {
			return q, err
		}
	}
}

func (q *query) header(line []byte) (err error) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch len(name) {
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			q.length, err = strconv.Atoi(string(value))
		}
	case len("Authorization"):
		if bytes.EqualFold(name, []byte("Authorization")) {
			q.first = bytes.HasSuffix(value, []byte(upstreamKeys[0]))
		}
	case len("Connection"):
		if bytes.EqualFold(name, []byte("Connection")) {
			q.last = bytes.EqualFold(value, []byte("close"))
		}
	case len("Transfer-Encoding"):
		if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			err = errors.New("a request's length must be known")
		}
	}
	return err
}
