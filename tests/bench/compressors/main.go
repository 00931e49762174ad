// Compresses its input as programs in Go do that make layers.
//
//	compressors go|klauspost LEVEL <tar >layer
//
// `go` is compress/gzip of the standard library, as in docker and BuildKit; `klauspost` is what containerd, nerdctl and
// ko use in its place. -2 is Huffman only, for both.
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"

	fast "github.com/klauspost/compress/gzip"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: compressors go|klauspost LEVEL")
	}
	level, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	var writer io.WriteCloser
	switch os.Args[1] {
	case "go":
		writer, err = gzip.NewWriterLevel(os.Stdout, level)
	case "klauspost":
		writer, err = fast.NewWriterLevel(os.Stdout, level)
	default:
		err = fmt.Errorf("%q is neither go nor klauspost", os.Args[1])
	}
	if err != nil {
		return err
	}
	if _, err := io.Copy(writer, os.Stdin); err != nil {
		return err
	}
	return writer.Close()
}
