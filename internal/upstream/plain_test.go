package upstream

import (
	"net/url"
	"testing"
)

// What a plain connection is asked for is what net/http would ask for.
func FuzzRequestTarget(f *testing.F) {
	for _, s := range [][3]string{
		{"http://h", "", ""},
		{"http://h/", "", "a=b"},
		{"http://h/v1/", "models", ""},
		{"http://h/v1", "/files/a%2Fb", "a=%2f&b"},
		{"http://h/b%2Fase", "/x y", ""},
		{"http://h/b", "/%zz", ""},
		{"http://h/b", "/\xff\"<>", ""},
		{"http://h", "//x", ""},
		{"http://h/a b", "/%41", ""},
		{"http://h", "*", ""},
		{"http://h", "/[x]|^`{}", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, base, path, query string) {
		b, err := url.Parse(base)
		if err != nil {
			t.Skip()
		}
		got, gotErr := requestTarget(b, path, query)
		u, err := join(b, path, query)
		if (err == nil) != (gotErr == nil) {
			t.Fatalf("err = %v, want %v", gotErr, err)
		}
		if err == nil && got != u.RequestURI() {
			t.Errorf("got %q, want %q", got, u.RequestURI())
		}
	})
}

func TestWhichHostsArePlain(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "example.com:80", "127.0.0.1:8080": "127.0.0.1:8080", "[::1]": "[::1]:80", "[::1]:99": "[::1]:99",
		"b\u00fccher.example": "", "[fe80::1%25eth0]:80": "", "a b": "", "": "",
	} {
		if got := isPlainHost(host); got != (want != "") {
			t.Errorf("%q: plain %v", host, got)
		} else if got && address(&url.URL{Scheme: "http", Host: host}) != want {
			t.Errorf("%q is dialled at %q, want %q", host, address(&url.URL{Scheme: "http", Host: host}), want)
		}
	}
}
