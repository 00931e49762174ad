package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/awslabs/soci-snapshotter/soci/store"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

const defaultMinLayerSize = 10 << 20

// indexOptions is the command line of the index command.
type indexOptions struct {
	reference     string
	version       string
	outputTag     string
	platforms     []string
	tool          string
	spanSize      int64
	minLayerSize  int64
	prefetchFiles []string
	optimizations []soci.Optimization
	work          string
	save          string
	push          bool
}

// indexResult is what the index command prints, one JSON object.
type indexResult struct {
	// Root is the digest of the converted image index (V2) or of the first SOCI
	// index (V1).
	Root string `json:"root"`
	// Tag is the tag that was pushed, empty for V1 and without a push.
	Tag string `json:"tag"`
	// Indexes lists the SOCI indexes, in platform order.
	Indexes []platformIndex `json:"indexes"`
	// Pushed lists what was pushed, in the order in which the pushes ended.
	Pushed []pushedContent `json:"pushed"`
	// Seconds of wall time per step.
	Pull  float64 `json:"pull_seconds"`
	Build float64 `json:"build_seconds"`
	Push  float64 `json:"push_seconds"`
	Total float64 `json:"seconds"`
	Error string  `json:"error"`
}

// platformIndex is the SOCI index of one platform and the image manifest it is
// for. With V2 that is the rewritten manifest.
type platformIndex struct {
	Platform      string `json:"platform"`
	ImageManifest string `json:"image_manifest"`
	SociIndex     string `json:"soci_index"`
}

// pushedContent is a blob or manifest that the registry did not have before.
type pushedContent struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"media_type"`
	Size      int64         `json:"size"`
}

// runIndex pulls an image into an OCI store on disk, builds its SOCI index there
// and pushes the result back, the way that the reference's own commands do.
func runIndex(args []string, out io.Writer) int {
	options, err := parseIndexOptions(args)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
		}
		return exitUsage
	}
	result, err := indexImage(context.Background(), options)
	code := exitOK
	if err != nil {
		result.Error = err.Error()
		code = exitFailed
	}
	if err := json.NewEncoder(out).Encode(result); err != nil {
		fmt.Fprintf(os.Stderr, "writing the result: %v\n", err)
		return exitFailed
	}
	return code
}

func parseIndexOptions(args []string) (indexOptions, error) {
	var options indexOptions
	flags := flag.NewFlagSet("index", flag.ContinueOnError)
	flags.StringVar(&options.version, "index-version", "v2", "v1 or v2")
	flags.StringVar(&options.outputTag, "output-tag", "", "tag of the V2 result (default: the image's tag and -soci)")
	flags.Func("platform", "platform to index, may be repeated (default: all of the image)", func(value string) error {
		options.platforms = append(options.platforms, value)
		return nil
	})
	flags.StringVar(&options.tool, "tool", defaultTool, "build tool identifier")
	flags.Int64Var(&options.spanSize, "span-size", defaultSpanSize, "span size in bytes")
	flags.Int64Var(&options.minLayerSize, "min-layer-size", defaultMinLayerSize, "smallest layer to index, in bytes")
	flags.Func("prefetch-file", "path to prefetch, may be repeated", func(value string) error {
		options.prefetchFiles = append(options.prefetchFiles, value)
		return nil
	})
	flags.Func("optimization", "optimization to apply, may be repeated: xattr", func(value string) error {
		optimization, err := soci.ParseOptimization(value)
		options.optimizations = append(options.optimizations, optimization)
		return err
	})
	flags.StringVar(&options.work, "work", "", "folder for the image and the temporary files, must exist")
	flags.StringVar(&options.save, "save", "", "folder for a copy of each thing pushed, named by its digest; must exist")
	flags.BoolVar(&options.push, "push", true, "push the result")
	if err := flags.Parse(args); err != nil {
		return options, err
	}
	if flags.NArg() != 1 {
		return options, errors.New("index takes one image reference")
	}
	if options.work == "" {
		return options, errors.New("index needs -work DIR")
	}
	if options.version != "v1" && options.version != "v2" {
		return options, fmt.Errorf("unknown index version %q", options.version)
	}
	options.reference = flags.Arg(0)
	return options, nil
}

func indexImage(ctx context.Context, options indexOptions) (indexResult, error) {
	var result indexResult
	// The library copies every layer into a file of os.TempDir.
	if err := os.Setenv("TMPDIR", options.work); err != nil {
		return result, err
	}
	repository, err := remote.NewRepository(options.reference)
	if err != nil {
		return result, err
	}
	repository.PlainHTTP = true
	tag := repository.Reference.Reference
	if tag == "" || strings.Contains(tag, ":") {
		return result, fmt.Errorf("%s names no tag", options.reference)
	}

	start := time.Now()
	layout := filepath.Join(options.work, "store")
	blobs, err := oci.New(layout)
	if err != nil {
		return result, err
	}
	target, err := oras.Copy(ctx, repository, tag, blobs, tag, oras.DefaultCopyOptions)
	if err != nil {
		return result, fmt.Errorf("pull: %w", err)
	}
	result.Pull = time.Since(start).Seconds()

	buildStart := time.Now()
	contents, err := local.NewStore(layout)
	if err != nil {
		return result, err
	}
	image := images.Image{Name: options.reference, Target: target}
	build, err := newBuild(ctx, contents, blobs, image, options)
	if err != nil {
		return result, err
	}
	if len(options.prefetchFiles) > 0 {
		// The library collects the ztocs that it searches for the files with one
		// goroutine a layer and without a lock, and may lose some of them.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	roots, err := build.run(ctx, &result)
	if err != nil {
		return result, fmt.Errorf("build: %w", err)
	}
	result.Build = time.Since(buildStart).Seconds()
	result.Root = roots[0].Digest.String()

	if options.push {
		pushStart := time.Now()
		if options.version == "v2" {
			result.Tag = options.outputTag
			if result.Tag == "" {
				result.Tag = tag + "-soci"
			}
		}
		result.Pushed, err = push(ctx, blobs, repository, roots, result.Tag)
		if err != nil {
			return result, fmt.Errorf("push: %w", err)
		}
		if err := save(ctx, contents, result.Pushed, options.save); err != nil {
			return result, fmt.Errorf("save: %w", err)
		}
		result.Push = time.Since(pushStart).Seconds()
	}
	result.Total = time.Since(start).Seconds()
	return result, nil
}

// build is one image with the library's builder for it.
type build struct {
	builder   *soci.IndexBuilder
	contents  content.Store
	image     images.Image
	platforms []ocispec.Platform
	version   string
}

func newBuild(ctx context.Context, contents content.Store, blobs *oci.Store, image images.Image, options indexOptions) (*build, error) {
	database, err := soci.NewDB(soci.ArtifactsDbPath(options.work))
	if err != nil {
		return nil, err
	}
	builder, err := soci.NewIndexBuilder(contents, &store.SociStore{Store: blobs},
		soci.WithArtifactsDb(database),
		soci.WithSpanSize(options.spanSize),
		soci.WithMinLayerSize(options.minLayerSize),
		soci.WithBuildToolIdentifier(options.tool),
		soci.WithOptimizations(options.optimizations),
		soci.WithPrefetchPaths(options.prefetchFiles),
		// The library's database is one for the whole process, and tells of ztocs
		// that are in the stores of earlier images only.
		soci.WithForceRecreateZtocs(true),
	)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedPlatforms(ctx, contents, image, options.platforms)
	if err != nil {
		return nil, err
	}
	return &build{builder, contents, image, wanted, options.version}, nil
}

func wantedPlatforms(ctx context.Context, contents content.Store, image images.Image, names []string) ([]ocispec.Platform, error) {
	if len(names) == 0 {
		return images.Platforms(ctx, contents, image.Target)
	}
	parsed := make([]ocispec.Platform, 0, len(names))
	for _, name := range names {
		platform, err := platforms.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", name, err)
		}
		parsed = append(parsed, platform)
	}
	return parsed, nil
}

// run builds the SOCI indexes, notes them in result, and returns the
// descriptors to push.
func (b *build) run(ctx context.Context, result *indexResult) ([]ocispec.Descriptor, error) {
	if b.version == "v1" {
		return b.runV1(ctx, result)
	}
	return b.runV2(ctx, result)
}

func (b *build) runV1(ctx context.Context, result *indexResult) ([]ocispec.Descriptor, error) {
	var roots []ocispec.Descriptor
	for _, platform := range b.platforms {
		index, err := b.builder.Build(ctx, b.image, soci.WithPlatform(platform))
		// A platform with no layer that is large enough has no SOCI index.
		if errors.Is(err, soci.ErrEmptyIndex) {
			continue
		}
		if err != nil {
			return nil, err
		}
		roots = append(roots, index.Desc)
		result.Indexes = append(result.Indexes, platformIndex{
			Platform:      platforms.Format(platform),
			ImageManifest: index.ManifestDesc.Digest.String(),
			SociIndex:     index.Desc.Digest.String(),
		})
	}
	if len(roots) == 0 {
		return nil, soci.ErrEmptyIndex
	}
	return roots, nil
}

func (b *build) runV2(ctx context.Context, result *indexResult) ([]ocispec.Descriptor, error) {
	root, err := b.builder.Convert(ctx, b.image, soci.ConvertWithPlatforms(b.platforms...))
	if err != nil {
		return nil, err
	}
	encoded, err := content.ReadBlob(ctx, b.contents, *root)
	if err != nil {
		return nil, err
	}
	var converted ocispec.Index
	if err := json.Unmarshal(encoded, &converted); err != nil {
		return nil, err
	}
	for _, desc := range converted.Manifests {
		if desc.ArtifactType != soci.SociIndexArtifactTypeV2 || desc.Platform == nil {
			continue
		}
		result.Indexes = append(result.Indexes, platformIndex{
			Platform:      platforms.Format(*desc.Platform),
			ImageManifest: desc.Annotations[soci.IndexAnnotationImageManifestDigest],
			SociIndex:     desc.Digest.String(),
		})
	}
	return []ocispec.Descriptor{*root}, nil
}

// push copies the graph under each root to the repository, tags the first root
// if tag is not empty, and returns what the repository lacked.
func push(ctx context.Context, blobs *oci.Store, repository *remote.Repository, roots []ocispec.Descriptor, tag string) ([]pushedContent, error) {
	var (
		mutex  sync.Mutex
		pushed []pushedContent
	)
	options := oras.DefaultCopyGraphOptions
	options.PostCopy = func(_ context.Context, desc ocispec.Descriptor) error {
		mutex.Lock()
		defer mutex.Unlock()
		pushed = append(pushed, pushedContent{desc.Digest, desc.MediaType, desc.Size})
		return nil
	}
	for _, root := range roots {
		if err := oras.CopyGraph(ctx, blobs, repository, root, options); err != nil {
			return pushed, err
		}
	}
	if tag == "" {
		return pushed, nil
	}
	return pushed, repository.Tag(ctx, roots[0], tag)
}

// save writes what was pushed into a folder, each under its digest's hex digits.
func save(ctx context.Context, contents content.Store, pushed []pushedContent, folder string) error {
	if folder == "" {
		return nil
	}
	for _, item := range pushed {
		bytes, err := content.ReadBlob(ctx, contents, ocispec.Descriptor{Digest: item.Digest, Size: item.Size})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, item.Digest.Encoded()), bytes, 0o644); err != nil {
			return err
		}
	}
	return nil
}
