// The commands that make parts of the golden set: golden-options makes images and
// builds their indexes with the options of the builder, golden-images builds those
// of the images that the set has already.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/opencontainers/go-digest"
)

// prefetchRuns is how often an image is built with prefetch files; all builds
// must give the same. The library races with itself there, see indexImage.
const prefetchRuns = 3

// goldenInput is a case's input.json: an image, and the options that it is
// indexed with.
type goldenInput struct {
	RootDigest    digest.Digest    `json:"root_digest"`
	RootMediaType string           `json:"root_media_type"`
	BuildTool     string           `json:"build_tool"`
	Note          string           `json:"note"`
	Options       goldenOptions    `json:"options"`
	Manifests     []goldenManifest `json:"manifests"`
	// BlobsElsewhere are blobs of the image that lie with the shared ones.
	BlobsElsewhere []digest.Digest `json:"blobs_elsewhere"`
}

type goldenOptions struct {
	SpanSize      int64    `json:"span_size"`
	MinLayerSize  int64    `json:"min_layer_size"`
	PrefetchFiles []string `json:"prefetch_files"`
	Optimizations []string `json:"optimizations"`
}

type goldenManifest struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"media_type"`
	Size      int           `json:"size"`
}

// goldenOutcome is what the reference makes of a case with one version of the
// index: one half of an expected.json.
type goldenOutcome struct {
	Result          string                   `json:"result"`
	Message         string                   `json:"message,omitempty"`
	PushedManifests map[digest.Digest]string `json:"pushed_manifests"`
	PushedBlobs     map[digest.Digest]int    `json:"pushed_blobs"`
	Tags            map[string]digest.Digest `json:"tags"`

	// content is each manifest and each prefetch artifact that was pushed.
	content map[digest.Digest][]byte
	// held is what the registry holds afterwards.
	held snapshot
}

// goldenExpected is a case's expected.json.
type goldenExpected struct {
	V1 goldenOutcome `json:"V1"`
	V2 goldenOutcome `json:"V2"`
}

// runGoldenOptions writes the golden part on the builder's options: makes the
// images of goldenCases and builds their indexes.
func runGoldenOptions(args []string) int {
	return runGolden("golden-options", args, func(ctx context.Context, folder, work string) error {
		if err := removeGolden(folder); err != nil {
			return err
		}
		builder := goldenBuilder{work: work}
		written := map[string]goldenWritten{}
		for _, golden := range goldenCases() {
			source, err := golden.source(written)
			if err != nil {
				return fmt.Errorf("%s: %w", golden.name, err)
			}
			input := source.input(golden)
			expected, err := builder.build(ctx, golden.name, input, source.content())
			if err != nil {
				return fmt.Errorf("%s: %w", golden.name, err)
			}
			if err := writeGolden(folder, golden.name, source, input, expected); err != nil {
				return fmt.Errorf("%s: %w", golden.name, err)
			}
			written[golden.name] = goldenWritten{input, expected.V2}
		}
		return nil
	})
}

// source makes a case's image, or takes it from a case that is done.
func (c goldenCase) source(written map[string]goldenWritten) (goldenImage, error) {
	if c.convertedFrom != "" {
		return convertedImage(written[c.convertedFrom])
	}
	return c.image(), nil
}

// goldenWritten is a case that is done, for cases that begin with its result.
type goldenWritten struct {
	input goldenInput
	v2    goldenOutcome
}

// goldenLine is what golden-images prints of a case.
type goldenLine struct {
	Case string `json:"case"`
	goldenExpected
}

// runGoldenImages builds the cases of the golden part on images anew and prints
// what this release of the reference makes of each, one JSON object a line.
func runGoldenImages(args []string, out io.Writer) int {
	return runGolden("golden-images", args, func(ctx context.Context, folder, work string) error {
		inputs, err := filepath.Glob(filepath.Join(folder, "*", "input.json"))
		if err != nil {
			return err
		}
		shared, err := readShared(filepath.Join(folder, goldenShared), filepath.Join(folder, "_ztocs"))
		if err != nil {
			return err
		}
		builder := goldenBuilder{work: work}
		lines := json.NewEncoder(out)
		for _, path := range inputs {
			name := filepath.Base(filepath.Dir(path))
			input, content, err := readGolden(filepath.Dir(path), shared)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			expected, err := builder.build(ctx, name, input, content)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := lines.Encode(goldenLine{name, expected}); err != nil {
				return err
			}
		}
		return nil
	})
}

// runGolden calls a command with its one argument, a folder, and a folder for
// temporary files.
func runGolden(name string, args []string, command func(ctx context.Context, folder, work string) error) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() != 1 {
		fmt.Fprintf(os.Stderr, "%s takes one folder\n", name)
		return exitUsage
	}
	work, err := os.MkdirTemp("", "golden-*")
	if err == nil {
		defer os.RemoveAll(work)
		err = command(context.Background(), filepath.Clean(flags.Arg(0)), work)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitOK
}

// goldenBuilder builds indexes, each in a folder of its own below work.
type goldenBuilder struct {
	work string
	next int
}

// build builds both versions of a case's index: V1 for linux/amd64 alone, V2
// for all platforms.
func (b *goldenBuilder) build(ctx context.Context, name string, input goldenInput, content map[digest.Digest][]byte) (goldenExpected, error) {
	var expected goldenExpected
	runs := 1
	if len(input.Options.PrefetchFiles) > 0 {
		runs = prefetchRuns
	}
	for version, outcome := range map[string]*goldenOutcome{"v1": &expected.V1, "v2": &expected.V2} {
		for run := range runs {
			again, err := b.buildOnce(ctx, name, version, input, content)
			if err != nil {
				return expected, err
			}
			if run > 0 && !reflect.DeepEqual(again, *outcome) {
				return expected, fmt.Errorf("two builds of %s differ", version)
			}
			*outcome = again
		}
	}
	return expected, nil
}

func (b *goldenBuilder) buildOnce(ctx context.Context, name, version string, input goldenInput, content map[digest.Digest][]byte) (goldenOutcome, error) {
	registry := newRegistry()
	defer registry.server.Close()
	manifests := map[digest.Digest]string{}
	for _, manifest := range input.Manifests {
		manifests[manifest.Digest] = manifest.MediaType
	}
	for name, bytes := range content {
		if mediaType, ok := manifests[name]; ok {
			registry.manifests[name] = registryManifest{mediaType, bytes}
		} else {
			registry.blobs[name] = bytes
		}
	}
	registry.tags[name] = input.RootDigest
	before := registry.snapshot()

	b.next++
	options := indexOptions{
		reference:     registry.reference(name),
		version:       version,
		tool:          input.BuildTool,
		spanSize:      input.Options.SpanSize,
		minLayerSize:  input.Options.MinLayerSize,
		prefetchFiles: input.Options.PrefetchFiles,
		work:          filepath.Join(b.work, fmt.Sprint(b.next)),
		push:          true,
	}
	for _, optimization := range input.Options.Optimizations {
		options.optimizations = append(options.optimizations, soci.Optimization(optimization))
	}
	if version == "v1" {
		options.platforms = []string{"linux/amd64"}
	}
	if err := os.Mkdir(options.work, 0o755); err != nil {
		return goldenOutcome{}, err
	}
	// The library's database stays open in the first of these folders.
	defer os.RemoveAll(filepath.Join(options.work, "store"))
	result, err := indexImage(ctx, options)
	outcome := newOutcome(before, registry.snapshot(), result, err)
	outcome.Message = strings.ReplaceAll(outcome.Message, options.work, "DATADIR")
	return outcome, nil
}

func newOutcome(before, after snapshot, result indexResult, err error) goldenOutcome {
	outcome := goldenOutcome{
		Result:          result.Root,
		PushedManifests: map[digest.Digest]string{},
		PushedBlobs:     map[digest.Digest]int{},
		Tags:            map[string]digest.Digest{},
		content:         map[digest.Digest][]byte{},
		held:            after,
	}
	if err != nil {
		outcome.Result = "error"
		// Without the step that indexImage names.
		outcome.Message = errors.Unwrap(err).Error()
	}
	for pushed, manifest := range after.manifests {
		if _, ok := before.manifests[pushed]; !ok {
			outcome.PushedManifests[pushed] = manifest.mediaType
			outcome.content[pushed] = manifest.bytes
		}
	}
	for pushed, bytes := range after.blobs {
		if _, ok := before.blobs[pushed]; !ok {
			outcome.PushedBlobs[pushed] = len(bytes)
			if _, err := unmarshalPrefetch(bytes); err == nil {
				outcome.content[pushed] = bytes
			}
		}
	}
	for tag, tagged := range after.tags {
		if before.tags[tag] != tagged {
			outcome.Tags[tag] = tagged
		}
	}
	return outcome
}

func unmarshalPrefetch(content []byte) (*soci.PrefetchArtifact, error) {
	return soci.UnmarshalPrefetchArtifact(bytes.NewReader(content))
}
