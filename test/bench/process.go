package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	readyPatience = 10 * time.Second
	stopPatience  = 10 * time.Second
	tick          = 10 * time.Millisecond // USER_HZ, the unit of /proc/PID/stat
)

// process is a child, measured by what the kernel accounts to it and to its own
// children.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a command and waits until it listens on address.
func start(ctx context.Context, dir, address string, argv ...string) (*process, error) {
	f, err := os.CreateTemp(dir, "log")
	if err != nil {
		return nil, err
	}
	defer f.Close()                                       //nolint:errcheck // the child has its own
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the proxies it was told to measure
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	cmd.Stderr = f // a file: the access log is written the way it is in production
	p := &process{name: filepath.Base(argv[0]), cmd: cmd, log: f.Name(), done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	if err := p.listens(ctx, address); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *process) listens(ctx context.Context, address string) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(readyPatience)
	defer late.Stop()
	var d net.Dialer
	for {
		if conn, err := d.DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case <-p.done:
			return p.fault("ended at once")
		case <-late.C:
			return p.fault("does not listen")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fault is an error with the last of what the process said.
func (p *process) fault(what string) error {
	const most = 2000
	said, _ := os.ReadFile(p.log) //nolint:gosec // a file of our own
	return fmt.Errorf("%s %s: %s", p.name, what, bytes.TrimSpace(said[max(0, len(said)-most):]))
}

// stop ends the process, by force if it does not end by itself.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(stopPatience)
	defer late.Stop()
	select {
	case <-p.done:
		return
	case <-late.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// alive fails if the process has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return p.fault("ended")
	default:
		return nil
	}
}

// family is the process and its children: nginx works in those.
func (p *process) family() []int {
	pid := p.cmd.Process.Pid
	all := []int{pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		f := statFields(path)
		if len(f) < 2 || f[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			all = append(all, child)
		}
	}
	return all
}

// statFields are the fields of a stat file behind the command's name, which may
// hold anything: state, parent and so on.
func statFields(path string) []string {
	b, err := os.ReadFile(path) //nolint:gosec // /proc
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// cpu is the time the family has run: to the nanosecond the scheduler's, by
// thread, or where the kernel keeps no such account, in ticks.
func (p *process) cpu() (time.Duration, error) {
	if err := p.alive(); err != nil {
		return 0, err
	}
	var total time.Duration
	for _, pid := range p.family() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/schedstat", pid))
		for _, path := range threads {
			b, err := os.ReadFile(path) //nolint:gosec // /proc
			if err != nil {
				continue // the thread has just ended
			}
			ran, _, _ := strings.Cut(string(b), " ")
			ns, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(ns)
		}
		if len(threads) > 0 {
			continue
		}
		const user, system = 11, 12
		f := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if len(f) <= system {
			return 0, errors.New("/proc keeps no account of processes: this needs Linux")
		}
		for _, i := range []int{user, system} {
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(n) * tick
		}
	}
	return total, nil
}

// memory is what the family holds in memory now and has held at most, in bytes.
func (p *process) memory() (now, peak int64, err error) {
	if err := p.alive(); err != nil {
		return 0, 0, err
	}
	for _, pid := range p.family() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 2 || (f[0] != "VmRSS:" && f[0] != "VmHWM:") {
				continue
			}
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, 0, err
			}
			if f[0] == "VmRSS:" {
				now += kib << 10
			} else {
				peak += kib << 10
			}
		}
	}
	return now, peak, nil
}

// forgetPeak has the peak counted from now on. Where that is not permitted it is
// the peak since the start, for every proxy alike.
func (p *process) forgetPeak() {
	for _, pid := range p.family() {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	var c net.ListenConfig
	ln, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
