package http1

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// BenchmarkDo and BenchmarkTransport do the same: an exchange of 1 KB, or a stream.
func BenchmarkDo(b *testing.B) {
	for name, answer := range benchAnswers {
		b.Run(name, func(b *testing.B) {
			s := fast(b, answer)
			c := newClient(b, dialTCP)
			r := post(s.addr, make([]byte, 1000))
			r.Fields = []Field{{"Content-Type", []string{"application/json"}}, {"Authorization", []string{"Bearer x"}}, {"User-Agent", []string{"x"}}}
			room := make([]byte, 32<<10)
			b.ReportAllocs()
			for b.Loop() {
				resp, _, err := c.Do(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				drain(resp, room)
			}
		})
	}
}

func BenchmarkTransport(b *testing.B) {
	for name, answer := range benchAnswers {
		b.Run(name, func(b *testing.B) {
			s := fast(b, answer)
			tr := &http.Transport{DialContext: dialTCP, DisableCompression: true, ReadBufferSize: readBuffer}
			defer tr.CloseIdleConnections()
			body := string(make([]byte, 1000))
			room := make([]byte, 32<<10)
			log.SetOutput(io.Discard) // net/http tells of the end
			defer log.SetOutput(os.Stderr)
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+s.addr+"/", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer x"}, "User-Agent": {"x"}}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				drain(resp, room)
			}
		})
	}
}

func drain(resp *http.Response, room []byte) {
	for {
		if _, err := resp.Body.Read(room); err != nil {
			break
		}
	}
	resp.Body.Close()
}

const benchFields = "Date: Mon, 02 Jan 2006 15:04:05 GMT\r\nX-Request-Id: req_0123456789\r\nX-Ratelimit-Limit-Requests: 1000\r\n" +
	"X-Ratelimit-Remaining-Requests: 999\r\nX-Ratelimit-Reset-Requests: 1s\r\nX-Ratelimit-Limit-Tokens: 1000\r\n"

var benchAnswers = map[string]string{
	"1kb": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + benchFields + "Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000),
	"stream": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + benchFields + "Transfer-Encoding: chunked\r\n\r\n" +
		strings.Repeat("c8\r\n"+strings.Repeat("x", 200)+"\r\n", 100) + "0\r\n\r\n",
}

// fast answers requests of a known size without looking at them.
func fast(b *testing.B, answer string) *server {
	b.Helper()
	return serve(b, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			for line := []byte("x"); len(line) > 2; {
				var err error
				if line, err = br.ReadSlice('\n'); err != nil {
					return
				}
			}
			if _, err := br.Discard(1000); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}
