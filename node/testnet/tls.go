package testnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/tributary-network/tributary/node/home"
)

// certificateLife is how long certificates of a test network hold.
const certificateLife = 2 * 365 * 24 * time.Hour

// authority signs the certificates of one network's nodes. Its key is never
// written: who needs another certificate makes another network.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// newAuthority makes an authority and writes its certificate to dir/ca.pem.
func newAuthority(dir, network string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Tributary test network " + network},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(certificateLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	if template, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	a := &authority{cert: template, key: key, file: filepath.Join(dir, "ca.pem")}
	return a, writePEM(a.file, "CERTIFICATE", der)
}

// issue makes a certificate for a node that is reached as name, as localhost and
// by the loopback addresses, and returns the files relative to its home.
func (a *authority) issue(dir home.Dir, name string) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make certificate of %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return "", "", fmt.Errorf("make certificate of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    a.cert.NotBefore,
		NotAfter:     a.cert.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{name, "localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return "", "", fmt.Errorf("make certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("make certificate of %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(dir.Config(), "tls-cert.pem"), "CERTIFICATE", der); err != nil {
		return "", "", err
	}
	if err := writePEM(filepath.Join(dir.Config(), "tls-key.pem"), "PRIVATE KEY", secret); err != nil {
		return "", "", err
	}
	if err := writePEM(filepath.Join(dir.Config(), "tls-ca.pem"), "CERTIFICATE", a.cert.Raw); err != nil {
		return "", "", err
	}
	return "config/tls-cert.pem", "config/tls-key.pem", nil
}

func writePEM(path, kind string, der []byte) error {
	return home.WritePrivate(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), true)
}
