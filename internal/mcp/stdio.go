package mcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// goodbye is how long a command may take to end by itself, and then when told to.
const goodbye = 2 * time.Second

// spawn starts the server's command. It does not outlive life.
func (s *server) spawn(life context.Context, x *session) (sdk.Transport, error) {
	cmd := exec.Command(s.o.Command, s.o.Args...) //nolint:gosec,noctx // the operator names it; it ends with life
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SystemRoot", "APPDATA", "TEMP"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	for k, v := range s.o.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	alone(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting its command: %w", err)
	}
	p := &process{cmd: cmd, stdin: stdin, patience: s.o.Timeout}
	context.AfterFunc(life, func() { p.kill(); _ = p.Close() })
	x.lines = &lines{src: stdout, most: max(4*s.o.MaxResult+mostOther, mostPage)}
	return &sdk.IOTransport{Reader: io.NopCloser(x.lines), Writer: p, MaxLineLength: -1}, nil
}

// lines are what a command says, each within bounds.
type lines struct {
	src  io.Reader
	most int
	n    int // bytes of the line that is being read
	why  fate
}

func (l *lines) Read(p []byte) (int, error) {
	n, err := l.src.Read(p)
	if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
		l.n = n - end - 1
	} else {
		l.n += n
	}
	switch {
	case l.n > l.most:
		err = errTooLarge
		l.why.fail(err)
	case err != nil:
		l.why.fail(errBroken)
	}
	return n, err
}

// err is why no more is read; nil if there may be more.
func (l *lines) err() error {
	if l == nil {
		return nil
	}
	return l.why.err()
}

// process is a command that is spoken to. Closing it ends it.
type process struct {
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	patience time.Duration // for it to read what it is told
	once     sync.Once
}

// Write ends a command that does not read: what is stuck in its pipe would hold up
// everything that is said to it from then on.
func (p *process) Write(b []byte) (int, error) {
	stuck := time.AfterFunc(p.patience, p.kill)
	defer stuck.Stop()
	return p.stdin.Write(b)
}

// kill ends it now, and whoever is writing to it.
func (p *process) kill() {
	kill(p.cmd)
	_ = p.stdin.Close() // something else may hold its other end
}

func (p *process) Close() error {
	p.once.Do(func() {
		_ = p.stdin.Close() // which asks it to end
		told := time.AfterFunc(goodbye, func() { tell(p.cmd) })
		killed := time.AfterFunc(2*goodbye, p.kill)
		_ = p.cmd.Wait() // how it ends is its own business
		told.Stop()
		killed.Stop()
	})
	return nil
}
