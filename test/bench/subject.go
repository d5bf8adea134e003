package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The columns of the table.
const (
	keybridge = "Keybridge"
	recording = "Keybridge, recording"
	floor     = "ReverseProxy"
	floorRead = "ReverseProxy, body read first"
	nginx     = "nginx"
)

// subject is a proxy that runs.
type subject struct {
	name    string
	address string
	admin   string // where a Go process shows its metrics
	*process
	*crowd
	stopped func() // keeps the accounts
}

func (s *subject) stop() {
	s.stopped()
	s.hangUp()
	s.process.stop()
}

// begin starts a proxy. The port that was free a moment ago may be taken, so it
// tries again.
func (r *rig) begin(name, scenario string) (*subject, error) {
	var errs []error
	for range 3 {
		s, err := r.beginOnce(name, scenario)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if r.ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (r *rig) beginOnce(name, scenario string) (*subject, error) {
	address, err := freeAddress(r.ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress(r.ctx)
	if err != nil {
		return nil, err
	}
	s := &subject{name: name, address: address, admin: admin}
	var argv []string
	switch name {
	case keybridge, recording:
		argv, err = r.gateway(s, scenario)
	case nginx:
		s.admin = ""
		argv, err = r.nginxCommand(s)
	default:
		argv = []string{r.self, "floor", "-listen", address, "-admin", admin, "-upstream", r.upstream}
		if name == floorRead {
			argv = append(argv, "-read")
		}
	}
	if err != nil {
		return nil, err
	}
	if s.process, err = start(r.ctx, r.dir, address, argv...); err != nil {
		return nil, err
	}
	s.process.name, s.crowd = name, newCrowd(r.ctx, address)
	s.lenient = name != keybridge && name != recording
	s.stopped = func() {
		t := r.tallies[name]
		r.tallies[name] = tally{t.calls + s.calls.Load(), t.lost + s.lost.Load()}
	}
	return s, nil
}

// gateway configures Keybridge the way it is used: a token, three keys, metrics and
// access log on. Each kind of answer is a provider. The record has its own scenario.
func (r *rig) gateway(s *subject, scenario string) ([]string, error) {
	dir, err := os.MkdirTemp(r.dir, "data")
	if err != nil {
		return nil, err
	}
	store := "none"
	if s.name == recording {
		store, scenario = "sqlite:"+filepath.Join(dir, "record.db"), scenario+"-on"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %s\nadmin: %s\ndata_dir: %q\nstore: %q\ntokens: [literal:%s]\nlog: {level: info}\nproviders:\n",
		s.address, s.admin, dir, store, gatewayToken)
	for _, kind := range []string{blockingPath, streamPath, pacedPath, idlePath, refusePath, soakPath} {
		fmt.Fprintf(&b, "  - name: %s\n    kind: openai\n    base_url: http://%s/%s/v1\n    keys:\n", kind, r.upstream, kind)
		for i, key := range upstreamKeys {
			fmt.Fprintf(&b, "      - {id: k%d, secret: \"literal:%s\", organization: org-%d}\n", i, key, i)
		}
	}
	file, err := r.file("keybridge*.yaml", b.String())
	if err != nil || r.profile == "" {
		return []string{r.keybridge, "serve", "--config", file}, err
	}
	return []string{r.self, "gateway", "-config", file, "-profile", filepath.Join(r.profile, scenario)}, nil
}

// nginxCommand configures nginx with as many workers as cores. It reads a body
// whole before it sends it on, as it does by default, and keeps it in memory.
func (r *rig) nginxCommand(s *subject) ([]string, error) {
	dir, err := os.MkdirTemp(r.dir, "nginx")
	if err != nil {
		return nil, err
	}
	most := r.files - 100
	file, err := r.file("nginx*.conf", fmt.Sprintf(`daemon off;
worker_processes auto;
worker_rlimit_nofile %d;
pid %[2]s/pid;
error_log stderr error;
events { worker_connections %[3]d; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 64m;
  keepalive_requests 10000000;
  upstream mock { server %[4]s; keepalive 512; keepalive_requests 10000000; }
  server {
    listen %[5]s backlog=4096;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 10m;
    }
  }
}
`, r.files, dir, most, r.upstream, s.address))
	return []string{r.nginx, "-p", dir, "-e", "stderr", "-c", file}, err
}

// file writes a file that lives as long as the rig.
func (r *rig) file(pattern, text string) (string, error) {
	f, err := os.CreateTemp(r.dir, pattern)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Close())
}

// heap is how many objects, and bytes, a Go process has allocated so far; zero for
// others.
func (s *subject) heap(ctx context.Context) (objects, size float64, err error) {
	if s.admin == "" {
		return 0, 0, nil
	}
	b, err := get(ctx, s.admin, "metrics")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var to *float64
		switch name {
		case "go_memstats_mallocs_total":
			to = &objects
		case "go_memstats_alloc_bytes_total":
			to = &size
		default:
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return 0, 0, err
		}
	}
	if objects == 0 || size == 0 {
		return 0, 0, fmt.Errorf("%s does not show what it allocates", s.name)
	}
	return objects, size, nil
}

// get reads something small on a connection of its own.
func get(ctx context.Context, address, path string) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	defer c.close()
	resp, err := c.begin([]byte("GET /" + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	_, err = b.ReadFrom(http.MaxBytesReader(nil, resp.Body, 8<<20))
	return b.Bytes(), err
}

// findNginx is empty if nginx is not installed.
func findNginx() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
