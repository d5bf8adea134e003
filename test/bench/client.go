package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const answerPatience = time.Minute

// client is one kept connection to a proxy.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func dial(ctx context.Context, address string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReaderSize(conn, 16<<10)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// reset closes without leaving the address to wait for late packets.
func (c *client) reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.close()
}

// begin sends a request and reads the answer's head.
func (c *client) begin(request []byte) (*http.Response, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		err = fmt.Errorf("answered %s: %s", resp.Status, said)
	}
	return resp, err
}

// do sends a request and reads the whole answer, which must be of so many bytes.
func (c *client) do(request []byte, want int64) error {
	resp, err := c.begin(request) //nolint:bodyclose // read to its end, on a connection of our own
	if err != nil {
		return err
	}
	got, err := io.Copy(io.Discard, resp.Body)
	if err == nil && got != want {
		err = fmt.Errorf("answered %d bytes instead of %d", got, want)
	}
	return err
}

// crowd is the clients of one proxy. Its connections are kept from round to round.
type crowd struct {
	ctx     context.Context //nolint:containedctx // of the run the crowd belongs to
	address string
	idle    chan *client
	// lenient crowds put up with one failed call in a hundred. Only Keybridge has to
	// answer every one: a bare ReverseProxy loses a few, because net/http closes a
	// request's body, which the transport still reads, when the answer begins.
	lenient     bool
	calls, lost atomic.Int64
}

// try counts a call and says whether it must not have failed.
func (c *crowd) try(call func() error) error {
	calls := c.calls.Add(1)
	err := call()
	if err == nil || c.ctx.Err() != nil {
		return err
	}
	if lost := c.lost.Add(1); c.lenient && lost*100 <= max(calls, 1000) {
		return nil
	}
	return err
}

const mostClients = 1024

func newCrowd(ctx context.Context, address string) *crowd {
	return &crowd{ctx: ctx, address: address, idle: make(chan *client, mostClients)}
}

func (c *crowd) take() (*client, error) {
	select {
	case one := <-c.idle:
		return one, nil
	default:
		return dial(c.ctx, c.address)
	}
}

func (c *crowd) give(one *client) {
	select {
	case c.idle <- one:
	default:
		one.close()
	}
}

// hangUp closes all connections that are not in use.
func (c *crowd) hangUp() {
	for {
		select {
		case one := <-c.idle:
			one.close()
		default:
			return
		}
	}
}

// ask makes one call on a kept connection.
func (c *crowd) ask(request []byte, want int64) error {
	one, err := c.take()
	if err != nil {
		return err
	}
	if err = one.do(request, want); err != nil {
		one.close()
		return err
	}
	c.give(one)
	return nil
}

// flood makes n calls, width at a time, each as soon as the one before has ended.
func (c *crowd) flood(n, width int, call func(i int) error) error {
	var next, failed atomic.Int64
	errs := make([]error, width)
	var all sync.WaitGroup
	for w := range width {
		all.Go(func() {
			for c.ctx.Err() == nil && failed.Load() == 0 {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = c.try(func() error { return call(i) }); errs[w] != nil {
					failed.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, c.ctx.Err())...)
}

// arrive makes calls at a fixed rate, whether or not those before have ended, and
// returns how long each took.
func (c *crowd) arrive(n int, every time.Duration, call func() error) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			all.Wait()
			return nil, c.ctx.Err()
		}
		sent := time.Now()
		all.Go(func() {
			errs[i] = c.try(call)
			took[i] = time.Since(sent)
		})
		timer.Reset(time.Until(start.Add(time.Duration(i+1) * every)))
	}
	all.Wait()
	return took, errors.Join(errs...)
}
