package demo

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// failovers scrapes the gateway's metrics as Prometheus does: the moves counted
// there, and the samples of the pools that say something.
func (s *show) failovers(ctx context.Context) (moves int, samples string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/metrics", nil)
	if err != nil {
		return 0, ""
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close() //nolint:errcheck // it is only read
	if resp.StatusCode != http.StatusOK {
		return 0, ""
	}
	return poolSamples(resp.Body)
}

// revive is the operator's hand, as keybridge pool revive.
func (s *show) revive(ctx context.Context, a *act) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.admin+"/pools/"+a.provider+"/keys/"+a.key+"/revive", nil)
	if err != nil {
		return
	}
	if resp, err := s.client.Do(req); err == nil { // a key that was not revived is missed at the end
		_ = resp.Body.Close()
	}
}

// poolSamples reads the exposition format as far as key_pool_* needs it.
func poolSamples(r io.Reader) (moves int, samples string) {
	var b strings.Builder
	lines := bufio.NewScanner(r) // a sample's line is far below the scanner's limit
	for lines.Scan() {
		series, number, _ := strings.Cut(lines.Text(), "} ")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || value == 0 || !strings.HasPrefix(series, "keybridge_key_pool_") || strings.Contains(series, "_bucket{") {
			continue
		}
		if strings.HasPrefix(series, "keybridge_key_pool_failovers_total{") {
			moves += int(value)
		}
		b.WriteString("  " + series + "} " + strconv.FormatFloat(value, 'g', 6, 64) + "\n")
	}
	return moves, b.String()
}
