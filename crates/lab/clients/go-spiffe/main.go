// What an application written with go-spiffe asks of a Workload API: client SOCKET ADDRESS SERVER-ID
//
// Prints one line for each answer, then dials ADDRESS with mTLS and expects SERVER-ID there.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run(socket, address, server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	at := workloadapi.WithAddr("unix://" + socket)
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(at))
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	fmt.Println("x509", svid.ID)
	token, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "ledger"}, at)
	if err != nil {
		return err
	}
	keys, err := workloadapi.FetchJWTBundles(ctx, at)
	if err != nil {
		return err
	}
	checked, err := jwtsvid.ParseAndValidate(token.Marshal(), keys, []string{"ledger"})
	if err != nil {
		return err
	}
	fmt.Println("offline", checked.ID)
	if _, err = workloadapi.ValidateJWTSVID(ctx, token.Marshal(), "another", at); err == nil {
		return fmt.Errorf("a token for another audience was accepted")
	}
	expected, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(expected))}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n")
	answer, err := io.ReadAll(connection)
	if len(answer) < 12 {
		return fmt.Errorf("no answer: %w", err)
	}
	fmt.Println("mtls", string(answer[9:12]))
	stranger, _ := spiffeid.FromString("spiffe://example.org/somebody/else")
	dialer.Config = tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(stranger))
	if _, err = dialer.DialContext(ctx, "tcp", address); err == nil {
		return fmt.Errorf("a server with another ID was accepted")
	}
	return nil
}
