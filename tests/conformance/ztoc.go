package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/awslabs/soci-snapshotter/ztoc"
)

// The reference's defaults: spans of 4 MiB and its command line's identifier.
const (
	defaultSpanSize = 4 << 20
	defaultTool     = "AWS SOCI CLI v0.2"
)

// ztocJob names one layer and the settings to build its ztoc with. ID is the
// caller's and comes back with the result.
type ztocJob struct {
	ID          string `json:"id"`
	File        string `json:"file"`
	Compression string `json:"compression"`
	SpanSize    int64  `json:"span_size"`
	Tool        string `json:"tool"`
	Out         string `json:"out,omitempty"`
}

// ztocResult holds either a digest and a size in bytes or an error text.
type ztocResult struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Error  string `json:"error"`
}

// runZtoc builds the ztoc of one layer and prints "sha256:<hex> <size>" or
// "error: <text>".
func runZtoc(args []string, out io.Writer) int {
	var job ztocJob
	flags := flag.NewFlagSet("ztoc", flag.ContinueOnError)
	flags.StringVar(&job.Compression, "compression", "gzip", "gzip or uncompressed")
	flags.Int64Var(&job.SpanSize, "span-size", defaultSpanSize, "span size in bytes")
	flags.StringVar(&job.Tool, "tool", defaultTool, "build tool identifier")
	flags.StringVar(&job.Out, "out", "", "file to write the ztoc to")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "ztoc takes one layer file")
		return exitUsage
	}
	job.File = flags.Arg(0)
	result := buildZtoc(job)
	if result.Error != "" {
		fmt.Fprintf(out, "error: %s\n", result.Error)
		return exitFailed
	}
	fmt.Fprintf(out, "%s %d\n", result.Digest, result.Size)
	return exitOK
}

// runBatch reads one JSON job per line and answers each with one JSON line, in
// the same order. A layer that the reference rejects is an answer, not a
// failure, so the exit code is 0 unless the input or output itself breaks.
func runBatch(in io.Reader, out io.Writer) int {
	jobs := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var job ztocJob
		err := jobs.Decode(&job)
		if errors.Is(err, io.EOF) {
			return exitOK
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "reading a job: %v\n", err)
			return exitFailed
		}
		if err := answers.Encode(buildZtoc(job)); err != nil {
			fmt.Fprintf(os.Stderr, "writing an answer: %v\n", err)
			return exitFailed
		}
	}
}

// buildZtoc builds one ztoc. A panic of the library, such as its division by a
// span size of zero, becomes the result's error.
func buildZtoc(job ztocJob) (result ztocResult) {
	result.ID = job.ID
	defer func() {
		if cause := recover(); cause != nil {
			result = ztocResult{ID: job.ID, Error: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	toc, err := ztoc.NewBuilder(job.Tool).BuildZtoc(job.File, job.SpanSize, ztoc.WithCompression(job.Compression))
	if err != nil {
		result.Error = err.Error()
		return result
	}
	encoded, desc, err := ztoc.Marshal(toc)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	if job.Out != "" {
		if err := writeFile(job.Out, encoded); err != nil {
			result.Error = err.Error()
			return result
		}
	}
	result.Digest = desc.Digest.String()
	result.Size = desc.Size
	return result
}

func writeFile(path string, content io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}
