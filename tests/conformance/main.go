// Command reference runs the reference builder, the published Go module
// github.com/awslabs/soci-snapshotter, as a library and prints what it makes of
// a layer or of a whole image. Tests and benchmarks compare against it.
//
// Usage:
//
//	reference ztoc -compression gzip|uncompressed -span-size N -tool STR [-out FILE] LAYER
//	reference batch < jobs.jsonl > results.jsonl
//	reference index -work DIR [flags] HOST/NAME:TAG
//	reference golden-options FOLDER
//	reference golden-images FOLDER > images-0.16.jsonl
//	reference flags SOCI > reference-flags.txt
//
// The golden commands make parts of the golden set, see tests/golden/README.md;
// flags lists what the reference's own command line knows.
//
// Results go to stdout. The library prints its progress to stdout as well; that
// goes to stderr here.
package main

import (
	"fmt"
	"io"
	"os"
)

// Exit codes: a failed build is 1, a wrong command line 2.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage:
  reference ztoc -compression gzip|uncompressed -span-size N -tool STR [-out FILE] LAYER
  reference batch < jobs.jsonl
  reference index -work DIR [flags] HOST/NAME:TAG
  reference golden-options FOLDER
  reference golden-images FOLDER
  reference flags SOCI
`

func main() {
	// The library's own lines must not mix with the results.
	results := os.Stdout
	os.Stdout = os.Stderr
	os.Exit(run(os.Args[1:], os.Stdin, results))
}

func run(args []string, in io.Reader, out io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "ztoc":
		return runZtoc(args[1:], out)
	case "batch":
		return runBatch(in, out)
	case "index":
		return runIndex(args[1:], out)
	case "golden-options":
		return runGoldenOptions(args[1:])
	case "golden-images":
		return runGoldenImages(args[1:], out)
	case "flags":
		return runFlags(args[1:], out)
	default:
		fmt.Fprintf(os.Stderr, "unknown command %q\n%s", args[0], usage)
		return exitUsage
	}
}
