package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoConfig says which echo to run.
type echoConfig struct {
	Trust *trust
	// Answer is how many bytes an answer has on the wire.
	Answer int
}

const echoMethod = "/echo.Echo/Echo"

// playEcho runs the floor: grpc-go as it comes, which takes a
// google.protobuf.BytesValue and answers with one.
func playEcho(context.Context) (*role, error) {
	var running *grpc.Server
	stop := func() error {
		if running != nil {
			running.Stop()
		}
		return nil
	}
	serve := func(c echoConfig) (string, error) {
		config, err := c.Trust.server()
		if err != nil {
			return "", err
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("listening: %w", err)
		}
		running = grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
		running.RegisterService(echoService(payload(c.Answer)), nil)
		go running.Serve(listener) // ends with Stop
		return listener.Addr().String(), nil
	}
	return &role{stop: stop, methods: map[string]func(json.RawMessage) (any, error){"serve": method(serve)}}, nil
}

func echoService(value []byte) *grpc.ServiceDesc {
	handle := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(&wrapperspb.BytesValue{}); err != nil {
			return nil, err
		}
		return wrapperspb.Bytes(value), nil
	}
	return &grpc.ServiceDesc{ServiceName: "echo.Echo", Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: handle}}}
}

// payload is the content of a BytesValue that takes size bytes on the wire, as
// long as it is between 130 and 16,386: a tag, a length of two bytes and itself.
func payload(size int) []byte { return make([]byte, max(0, size-3)) }
