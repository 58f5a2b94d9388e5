package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrPlaintext is returned for an address off loopback without TLS.
var ErrPlaintext = errors.New("TLS is required off loopback: give a certificate and key, or listen on 127.0.0.1")

// TLSFiles are the files a server's TLS is loaded from, in PEM.
type TLSFiles struct {
	Cert string
	Key  string
	// ClientCA, if set, is the authority that must have signed the certificates
	// of clients.
	ClientCA string
}

// LoadTLS loads a TLS 1.3 configuration. The certificate is loaded anew when
// its file changes; a change that cannot be loaded keeps the old one. now
// limits how often the file is looked at, once a minute.
func LoadTLS(f TLSFiles, now func() time.Time) (*tls.Config, error) {
	reloader := &certReloader{files: f, now: now}
	if err := reloader.load(); err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: reloader.get,
		NextProtos:     []string{"h2"},
	}
	if f.ClientCA == "" {
		return cfg, nil
	}
	var err error
	if cfg.ClientCAs, err = LoadAuthority(f.ClientCA); err != nil {
		return nil, err
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}

// LoadAuthority reads the certificates of an authority from a file in PEM, of
// which there must be one at least.
func LoadAuthority(file string) (*x509.CertPool, error) {
	pem, err := readPEM(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authority: %s holds no certificate", file)
	}
	return pool, nil
}

// maxPEM bounds the files of certificates and keys, in bytes: the authorities of a
// whole system fit in.
const maxPEM = 4 << 20

// readPEM reads a regular file of at most maxPEM bytes: devices and pipes may have no
// end, or never answer.
func readPEM(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // or a pipe without a writer would hold us
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: name one with the certificates in PEM", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf("%s has more than %d bytes", path, maxPEM)
	}
	return data, err
}

// loadKeyPair is tls.LoadX509KeyPair with the limits of readPEM.
func loadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

const certCheckInterval = time.Minute

// certReloader keeps a certificate up to date with its file. It is safe for
// concurrent use.
type certReloader struct {
	files TLSFiles
	now   func() time.Time

	mu      sync.Mutex
	cert    *tls.Certificate
	modTime time.Time
	checked time.Time
}

func (r *certReloader) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	due := r.now().Sub(r.checked) >= certCheckInterval
	r.mu.Unlock()
	if due {
		_ = r.load() // the old certificate stays
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cert, nil
}

func (r *certReloader) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checked = r.now()
	info, err := os.Stat(r.files.Cert)
	if err != nil {
		return fmt.Errorf("look at certificate: %w", err)
	}
	if r.cert != nil && info.ModTime().Equal(r.modTime) {
		return nil
	}
	cert, err := loadKeyPair(r.files.Cert, r.files.Key)
	if err != nil {
		return fmt.Errorf("load certificate %q with key %q: %w", r.files.Cert, r.files.Key, err)
	}
	r.cert, r.modTime = &cert, info.ModTime()
	return nil
}

// Loopback reports whether addr, a host:port or the address of a listener, can
// be reached from this machine only.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
