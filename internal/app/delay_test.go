package app_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"keybridge/internal/app"
)

// With stop_delay a gateway that is to stop says so before it closes its port.
func TestStopDelay(t *testing.T) {
	// What the gateway does not take must not end the tests.
	taken := make(chan os.Signal, 1)
	signal.Notify(taken, syscall.SIGTERM)
	defer signal.Stop(taken)
	for name, delay := range map[string]string{"skipped": "1h", "over": "10ms"} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "", "stop_delay: "+delay+"\ndata_dir: "+t.TempDir()+"\nproviders:\n  - {name: off, kind: openai, enabled: false, keys: [env:K]}\n")
			ports := make(chan string, 2)
			stop, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			log := &buffer{}
			go func() {
				ended <- app.Run(stop, app.Options{
					ConfigPath: path, Stderr: log, Env: func(string) (string, bool) { return "sk-any-key-at-all", true },
					Listen: func(network, address string) (net.Listener, error) {
						ln, err := net.Listen(network, address)
						ports <- ln.Addr().String()
						return ln, err
					},
				})
			}()
			r := &running{log: log}
			admin, listen := "http://"+<-ports, "http://"+<-ports
			r.do(t, http.MethodGet, listen+"/off/v1/models", "") // it serves
			cancel()
			if name == "skipped" {
				for code := 0; code != http.StatusServiceUnavailable; {
					code, _ = r.do(t, http.MethodGet, admin+"/readyz", "")
				}
				if code, body := r.do(t, http.MethodGet, listen+"/off/v1/models", ""); code != http.StatusServiceUnavailable {
					t.Errorf("a new connection before the delay is over: %d %s", code, body)
				}
				self, err := os.FindProcess(os.Getpid())
				if err != nil {
					t.Fatal(err)
				}
				if err := self.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-ended; err != nil {
				t.Errorf("it ends with %v, log:\n%s", err, log)
			}
		})
	}
}
