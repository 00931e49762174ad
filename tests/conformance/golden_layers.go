// The layers of the golden set's part on options.

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// longName does not fit a tar header, so that it comes in a PAX record.
var longName = strings.Repeat("long-name-", 12) + "a,b-\u00e9"

// goldenLayer is a layer and what a manifest says of it.
type goldenLayer struct {
	bytes     []byte
	mediaType string
	// docker is the media type in a Docker manifest.
	docker string
}

func gzipLayer(content []byte) goldenLayer {
	return goldenLayer{packed(content), ocispec.MediaTypeImageLayerGzip, images.MediaTypeDockerSchema2LayerGzip}
}

// packed compresses with the module that go.mod pins: the one of Go's own library
// changes its output between releases. A deflate block ends every 16 KiB, or spans
// could not be as small as they are here.
func packed(content []byte) []byte {
	var compressed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&compressed, 6)
	must(err)
	for piece := range slices.Chunk(content, 16<<10) {
		_, err = writer.Write(piece)
		must(err)
		must(writer.Flush())
	}
	must(writer.Close())
	return compressed.Bytes()
}

// must stops at an error in what is made from constants: that is a mistake here.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// layerWriter writes a tar.
type layerWriter struct {
	bytes  bytes.Buffer
	tar    *tar.Writer
	random *rand.Rand
}

func newLayer(seed uint64) *layerWriter {
	layer := &layerWriter{random: rand.New(rand.NewPCG(seed, 0))}
	layer.tar = tar.NewWriter(&layer.bytes)
	return layer
}

func (l *layerWriter) header(header tar.Header) {
	header.ModTime = time.Unix(1700000000, 0)
	if header.Mode == 0 {
		header.Mode = 0o644
	}
	must(l.tar.WriteHeader(&header))
}

// file adds a file of random letters, which compress to some three quarters.
func (l *layerWriter) file(name string, size int) {
	l.fileWith(tar.Header{Name: name}, size)
}

func (l *layerWriter) fileWith(header tar.Header, size int) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	content := make([]byte, size)
	for i := range content {
		content[i] = letters[l.random.IntN(len(letters))]
	}
	header.Typeflag = tar.TypeReg
	header.Size = int64(size)
	l.header(header)
	_, err := l.tar.Write(content)
	must(err)
}

func (l *layerWriter) directory(name string) {
	l.header(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

// bareDirectory adds a directory without the slash that the package insists on.
func (l *layerWriter) bareDirectory(name string) {
	must(l.tar.Flush())
	start := l.bytes.Len()
	l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755})
	must(l.tar.Flush())
	header := l.bytes.Bytes()[start:]
	header[156] = tar.TypeDir
	sum := 8 * int(' ')
	for i, value := range header[:512] {
		if i < 148 || i >= 156 {
			sum += int(value)
		}
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// end is the tar with its end blocks.
func (l *layerWriter) end() []byte {
	must(l.tar.Close())
	return l.bytes.Bytes()
}

// baseLayer has some ten spans: most that prefetch can meet in one layer.
func baseLayer() goldenLayer {
	layer := newLayer(1)
	layer.directory("etc")
	layer.file("etc/hostname", 12)
	layer.file("twice", 100)
	layer.file("shared", 3000)
	layer.directory("usr")
	layer.directory("usr/bin")
	layer.file("usr/bin/app", 120<<10)
	layer.file("usr/bin/inside", 200)
	layer.file("./dot/file", 100)
	layer.file("/abs/file", 100)
	layer.file("gone", 5000)
	for part := 1; part <= 6; part++ {
		layer.file(fmt.Sprintf("data/part-%d", part), 30<<10)
	}
	layer.file("var/empty", 0)
	layer.header(tar.Header{Typeflag: tar.TypeLink, Name: "usr/lib/app-link", Linkname: "usr/bin/app"})
	layer.header(tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/lib/app-symlink", Linkname: "../bin/app"})
	layer.bareDirectory("srv")
	layer.file("usr/share/both", 4000)
	layer.file(longName, 50)
	layer.file("twice", 50<<10)
	return gzipLayer(layer.end())
}

func upperLayer() goldenLayer {
	layer := newLayer(2)
	layer.file("opt/first", 1000)
	layer.file(".wh.gone", 0)
	layer.file("opt/tool", 50<<10)
	layer.file("shared", 20<<10)
	return gzipLayer(layer.end())
}

// smallLayer is below the least size that gets a ztoc.
func smallLayer() goldenLayer {
	layer := newLayer(3)
	layer.file("tiny/only-here", 2000)
	layer.file("usr/share/both", 2000)
	return gzipLayer(layer.end())
}

// plainLayer is uncompressed. Its first file ends with the second span, and its
// last one with the layer, which has no end blocks, and a span.
func plainLayer() goldenLayer {
	layer := newLayer(4)
	layer.file("plain/first", 2*goldenSpanSize-512)
	layer.file("plain/second", 1000)
	layer.file("plain/last", goldenSpanSize-512-512-1024)
	must(layer.tar.Flush())
	return goldenLayer{layer.bytes.Bytes(), ocispec.MediaTypeImageLayer, images.MediaTypeDockerSchema2Layer}
}

// armLayer is upperLayer's counterpart on the other platform.
func armLayer() goldenLayer {
	layer := newLayer(5)
	layer.file("only/arm64", 60<<10)
	layer.file("opt/tool", 40<<10)
	layer.file("opt/first", 100)
	return gzipLayer(layer.end())
}

// membersLayer is a gzip file of members that end in the midst of files.
func membersLayer() goldenLayer {
	layer := newLayer(6)
	for member := 1; member <= 6; member++ {
		layer.file(fmt.Sprintf("members/%d", member), 25<<10)
	}
	content := layer.end()
	var whole []byte
	for len(content) > 0 {
		size := min(len(content), 40<<10)
		whole = append(whole, packed(content[:size])...)
		content = content[size:]
	}
	return goldenLayer{whole, ocispec.MediaTypeImageLayerGzip, images.MediaTypeDockerSchema2LayerGzip}
}

// artifactLayer is a layer with the media type of a prefetch artifact.
func artifactLayer() goldenLayer {
	artifact := soci.NewPrefetchArtifact()
	artifact.AddPrefetchSpan(soci.PrefetchSpan{StartSpan: 0, EndSpan: 1})
	content, err := json.Marshal(artifact)
	must(err)
	return goldenLayer{content, soci.SociPrefetchMediaType, soci.SociPrefetchMediaType}
}

// zstdLayer is large enough for a ztoc; what is in it is never read.
func zstdLayer() goldenLayer {
	layer := newLayer(7)
	layer.file("file", goldenMinLayerSize)
	return goldenLayer{layer.end(), ocispec.MediaTypeImageLayerZstd, images.MediaTypeDockerSchema2LayerZstd}
}

// xattrLayers are layers of one file and something that does or does not count as
// an extended attribute.
func xattrLayers() []goldenLayer {
	pax := func(key, value string) func(*layerWriter, string) {
		return func(layer *layerWriter, name string) {
			layer.fileWith(tar.Header{Name: name, PAXRecords: map[string]string{key: value}}, 10)
		}
	}
	named := func(name string) func(*layerWriter, string) {
		return func(layer *layerWriter, folder string) {
			layer.file(strings.TrimSuffix(folder, "/more")+"/"+name, 0)
		}
	}
	kinds := []struct {
		name string
		add  func(layer *layerWriter, name string)
	}{
		{"plain-0", func(*layerWriter, string) {}},
		{"schily-1", pax("SCHILY.xattr.user.answer", "42")},
		{"opaque-2", named(".wh..wh..opq")},
		{"mtime-3", func(layer *layerWriter, name string) {
			must(layer.tar.WriteHeader(&tar.Header{
				Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
				ModTime: time.Unix(1700000000, 123456789), Format: tar.FormatPAX,
			}))
		}},
		{"libarchive-4", pax("LIBARCHIVE.xattr.user.answer", "NDI")},
		{"opaque-suffix-5", named("name.wh..wh..opq")},
		{"whiteout-6", named(".wh.file")},
		{"opaque-prefix-7", named(".wh..wh..opq.txt")},
		{"schily-other-8", pax("SCHILY.fflags", "nodump")},
		{"schily-value-empty-9", pax("SCHILY.xattr.user.empty", "")},
		{"schily-name-empty-10", pax("SCHILY.xattr.", "42")},
	}
	var layers []goldenLayer
	for number, kind := range kinds {
		layer := newLayer(uint64(100 + number))
		layer.file(kind.name+"/file", 24<<10)
		kind.add(layer, kind.name+"/more")
		layers = append(layers, gzipLayer(layer.end()))
	}
	return layers
}
