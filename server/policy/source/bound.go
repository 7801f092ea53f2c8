package source

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
)

// plainHost reports whether a registry is on loopback, where there is no TLS.
func plainHost(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback(host)
}

// boundTransport bounds every answer's body.
type boundTransport struct{ http.RoundTripper }

func (t boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{&limited{response.Body, maxPack}, response.Body}
	return response, nil
}

// boundFS refuses to open what is larger than anything of a layout may be.
type boundFS struct{ fs.FS }

func (b boundFS) Open(name string) (fs.File, error) {
	file, err := b.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() > maxTotal {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxTotal)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
