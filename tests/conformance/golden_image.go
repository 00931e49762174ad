// The images of the golden set's part on options: from layers to manifests.

package main

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// goldenImage is an image in parts: what lies in its case's folder, and layers
// that cases share.
type goldenImage struct {
	root          []byte
	rootMediaType string
	manifests     []goldenManifest
	own           [][]byte
	shared        [][]byte
}

func (i goldenImage) content() map[digest.Digest][]byte {
	content := map[digest.Digest][]byte{}
	for _, blob := range slices.Concat(i.own, i.shared) {
		content[digest.FromBytes(blob)] = blob
	}
	return content
}

func (i goldenImage) input(golden goldenCase) goldenInput {
	elsewhere := map[digest.Digest]bool{}
	for _, blob := range i.shared {
		elsewhere[digest.FromBytes(blob)] = true
	}
	return goldenInput{
		RootDigest:     digest.FromBytes(i.root),
		RootMediaType:  i.rootMediaType,
		BuildTool:      defaultTool,
		Note:           golden.note,
		Options:        golden.options,
		Manifests:      i.manifests,
		BlobsElsewhere: slices.Sorted(maps.Keys(elsewhere)),
	}
}

// convertedImage is the image that an earlier case's V2 build pushed.
func convertedImage(from goldenWritten) (goldenImage, error) {
	root := digest.Digest(from.v2.Result)
	image := goldenImage{
		root:          from.v2.held.manifests[root].bytes,
		rootMediaType: from.v2.held.manifests[root].mediaType,
	}
	var index ocispec.Index
	if err := json.Unmarshal(image.root, &index); err != nil {
		return image, err
	}
	names := []digest.Digest{root}
	for _, manifest := range index.Manifests {
		names = append(names, manifest.Digest)
	}
	for _, name := range names {
		manifest := from.v2.held.manifests[name]
		image.manifests = append(image.manifests, goldenManifest{name, manifest.mediaType, len(manifest.bytes)})
		image.own = append(image.own, manifest.bytes)
	}
	for _, name := range slices.Sorted(maps.Keys(from.v2.held.blobs)) {
		blob := from.v2.held.blobs[name]
		// Layers and ztocs are shared, configs and prefetch artifacts are not.
		if len(blob) > sharedBlobSize {
			image.shared = append(image.shared, blob)
		} else {
			image.own = append(image.own, blob)
		}
	}
	return image, nil
}

// goldenPlatform is the manifest of one platform.
type goldenPlatform struct {
	architecture string
	manifest     []byte
	config       []byte
	layers       []goldenLayer
}

// manifestOf makes an OCI manifest and its config.
func manifestOf(architecture string, layers ...goldenLayer) goldenPlatform {
	return makeManifest(architecture, layers, false)
}

func makeManifest(architecture string, layers []goldenLayer, docker bool) goldenPlatform {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	configType := ocispec.MediaTypeImageConfig
	if docker {
		manifest.MediaType = images.MediaTypeDockerSchema2Manifest
		configType = images.MediaTypeDockerSchema2Config
	}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: architecture},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	for _, layer := range layers {
		mediaType := layer.mediaType
		if docker {
			mediaType = layer.docker
		}
		manifest.Layers = append(manifest.Layers, describe(mediaType, layer.bytes))
		// The IDs of the layers' content are not looked at.
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer.bytes))
	}
	encodedConfig, err := json.Marshal(config)
	must(err)
	manifest.Config = describe(configType, encodedConfig)
	encoded, err := json.Marshal(manifest)
	must(err)
	return goldenPlatform{architecture, encoded, encodedConfig, layers}
}

func describe(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// single is an image of one OCI manifest.
func single(architecture string, layers ...goldenLayer) func() goldenImage {
	return func() goldenImage {
		return imageOf(manifestOf(architecture, layers...), ocispec.MediaTypeImageManifest)
	}
}

// singleDocker is an image of one Docker manifest for amd64.
func singleDocker(layers ...goldenLayer) func() goldenImage {
	return func() goldenImage {
		return imageOf(makeManifest("amd64", layers, true), images.MediaTypeDockerSchema2Manifest)
	}
}

func imageOf(platform goldenPlatform, mediaType string) goldenImage {
	image := goldenImage{root: platform.manifest, rootMediaType: mediaType}
	image.add(platform, mediaType)
	return image
}

// imageIndex is an image of several platforms.
func imageIndex(platforms ...goldenPlatform) func() goldenImage {
	return func() goldenImage {
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
		image := goldenImage{rootMediaType: ocispec.MediaTypeImageIndex}
		for _, platform := range platforms {
			desc := describe(ocispec.MediaTypeImageManifest, platform.manifest)
			desc.Platform = &ocispec.Platform{OS: "linux", Architecture: platform.architecture}
			index.Manifests = append(index.Manifests, desc)
			image.add(platform, ocispec.MediaTypeImageManifest)
		}
		encoded, err := json.Marshal(index)
		must(err)
		image.root = encoded
		image.own = append(image.own, encoded)
		image.manifests = append(image.manifests, goldenManifest{digest.FromBytes(encoded), ocispec.MediaTypeImageIndex, len(encoded)})
		return image
	}
}

func (i *goldenImage) add(platform goldenPlatform, mediaType string) {
	i.own = append(i.own, platform.manifest, platform.config)
	i.manifests = append(i.manifests, goldenManifest{digest.FromBytes(platform.manifest), mediaType, len(platform.manifest)})
	for _, layer := range platform.layers {
		if len(layer.bytes) > sharedBlobSize {
			i.shared = append(i.shared, layer.bytes)
		} else {
			i.own = append(i.own, layer.bytes)
		}
	}
}
