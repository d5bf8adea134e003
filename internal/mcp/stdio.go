package mcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

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
	p := &process{cmd: cmd, stdin: stdin, patience: s.o.Timeout}
	cmd.Stderr, cmd.WaitDelay = &p.words, goodbye // what it has started may hold stderr open
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting its command: %w", err)
	}
	context.AfterFunc(life, func() { p.kill(); _ = p.Close() })
	x.program = p
	x.lines = &lines{src: stdout, most: max(4*s.o.MaxResult+mostOther, mostPage), ended: p.lost}
	return &sdk.IOTransport{Reader: io.NopCloser(x.lines), Writer: p, MaxLineLength: -1}, nil
}

// lines are what a command says, each within bounds.
type lines struct {
	src  io.Reader
	most int
	n    int // bytes of the line that is being read
	why  fate

	ended func() // called when there is no more
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
		l.ended()
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
	words    tail        // what it says on stderr
	left     atomic.Bool // it has been told to end
	died     atomic.Bool // it ended without being told to
}

// lost notes that it does not listen or speak any more.
func (p *process) lost() {
	if !p.left.Load() {
		p.died.Store(true)
	}
}

// blame adds to the reason why there is no session what the program says of it.
func (p *process) blame(err error) error {
	if p == nil {
		return err
	}
	_ = p.Close() // waits for its end
	words := p.words.String()
	switch {
	case p.died.Load() && words != "":
		return fmt.Errorf("its program has ended (%s), and said: %s", p.cmd.ProcessState, words)
	case p.died.Load():
		return fmt.Errorf("its program has ended (%s)", p.cmd.ProcessState)
	case err != nil && words != "":
		return fmt.Errorf("%w; its program said: %s", err, words)
	}
	return err
}

// Write ends a command that does not read: what is stuck in its pipe would hold up
// everything that is said to it from then on.
func (p *process) Write(b []byte) (int, error) {
	stuck := time.AfterFunc(p.patience, p.kill)
	defer stuck.Stop()
	n, err := p.stdin.Write(b)
	if err != nil {
		p.lost()
	}
	return n, err
}

// kill ends it now, and whoever is writing to it.
func (p *process) kill() {
	p.left.Store(true)
	kill(p.cmd)
	_ = p.stdin.Close() // something else may hold its other end
}

func (p *process) Close() error {
	p.once.Do(func() {
		p.left.Store(true)
		_ = p.stdin.Close() // which asks it to end
		told := time.AfterFunc(goodbye, func() { tell(p.cmd) })
		killed := time.AfterFunc(2*goodbye, p.kill)
		_ = p.cmd.Wait() // how it ends is its own business
		told.Stop()
		killed.Stop()
	})
	return nil
}

// tail is the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	b     []byte
	begun bool // there was more before it
}

// mostWords bounds a tail, in bytes.
const mostWords = 1 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - mostWords; over > 0 {
		t.b, t.begun = append(t.b[:0:0], t.b[over:]...), true
	}
	return len(p), nil
}

// String is one line, of whole words: what is left of a word could be a secret's end,
// which nobody would recognize.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.Map(spaced, strings.ToValidUTF8(string(t.b), "\uFFFD"))
	if t.begun {
		_, text, _ = strings.Cut(text, " ")
		text = "… " + text
	}
	return strings.Join(strings.Fields(text), " ")
}

// spaced is a character of a line that may be printed.
func spaced(r rune) rune {
	if unicode.IsGraphic(r) && !unicode.IsSpace(r) {
		return r
	}
	return ' '
}
