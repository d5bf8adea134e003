package keypool_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

func ExampleNewTransport() {
	provider := httptest.NewServer(http.HandlerFunc(refuseRevoked)) // stands in for https://api.openai.com
	defer provider.Close()

	pool, err := keypool.New(keypool.Options{
		Provider: "openai",
		Family:   verdict.OpenAI,
		Host:     strings.TrimPrefix(provider.URL, "http://"),
		Keys:     []keypool.Key{{ID: "team-a", Secret: "sk-revoked"}, {ID: "team-b", Secret: "sk-good"}},
		Metrics:  keypool.NoMetrics(),
	})
	if err != nil {
		panic(err)
	}
	transport, err := keypool.NewTransport(keypool.TransportOptions{Pool: pool})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}

	resp, err := client.Post(provider.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"gpt-5"}`))
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK hello
}

func refuseRevoked(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "Bearer sk-revoked" {
		http.Error(w, `{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}`, http.StatusUnauthorized)
		return
	}
	fmt.Fprint(w, "hello")
}
