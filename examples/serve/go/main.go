// A server on a descriptor that it is given, and what a bug might do: call whoever the client names.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, "answered")
	})
	http.HandleFunc("/fetch", func(answer http.ResponseWriter, request *http.Request) {
		got, err := http.Get("http://127.0.0.1:" + request.FormValue("port") + "/")
		if err != nil {
			fmt.Fprintln(answer, "refused:", err)
			return
		}
		defer got.Body.Close()
		io.Copy(answer, got.Body)
	})
	server := &http.Server{}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	done := make(chan struct{})
	go func() {
		<-stop.Done()
		server.Shutdown(context.Background())
		close(done)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}
