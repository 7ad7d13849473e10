// Redis for Argo CD, whose own `argocd --core` runs the same one: redis ADDRESS.
package main

import (
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	for { // its keys expire by no clock but this
		time.Sleep(time.Second)
		server.FastForward(time.Second)
	}
}
