package proxyproto_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/vgirpc/vgirpc-go/auth/proxyproto"
)

// A load balancer on this machine forwards connections to a listener.
func ExampleReceiver_Listener() {
	receiver, err := proxyproto.New(proxyproto.Options{Proxies: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	inner, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	listener := receiver.Listener(inner)
	defer func() { _ = listener.Close() }()

	balancer, err := new(net.Dialer).DialContext(context.Background(), "tcp", inner.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = balancer.Close() }()
	_, _ = io.WriteString(balancer, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"+ // TCP over IPv4, 12 bytes:
		"\xc0\x00\x02\x07"+"\xc6\x33\x64\x01"+"\x10\x92"+"\x01\xbb"+"hello") // two addresses, two ports

	conn, err := listener.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	said := make([]byte, 5)
	_, _ = io.ReadFull(conn, said)
	fmt.Println(conn.RemoteAddr(), "says", string(said))
	// Output: 192.0.2.7:4242 says hello
}
