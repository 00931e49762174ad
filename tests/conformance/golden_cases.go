// The cases of the golden set's part on options.

package main

import (
	"github.com/awslabs/soci-snapshotter/soci"
)

// Small spans and a small least layer size let layers of some 100 KiB have
// several spans.
const (
	goldenSpanSize     = 32 << 10
	goldenMinLayerSize = 16 << 10
)

// goldenCase is one image and the options that it is indexed with.
type goldenCase struct {
	name    string
	note    string
	options goldenOptions
	image   func() goldenImage
	// convertedFrom names an earlier case: the image is what its V2 build pushed.
	convertedFrom string
}

// goldenCases lists the cases of the golden part on options. Everything in them
// is made from constants, with a pinned compressor, so that each run makes the
// same bytes.
func goldenCases() []goldenCase {
	base, upper, small, plain := baseLayer(), upperLayer(), smallLayer(), plainLayer()
	several := single("amd64", base, upper, small, plain)
	twoPlatforms := imageIndex(
		manifestOf("amd64", upper, small), manifestOf("arm64", armLayer(), small),
	)
	xattrs := single("amd64", xattrLayers()...)

	return []goldenCase{
		{name: "no-options", note: "0.16.1 without options: only the span size is new since 0.11", options: with(), image: several},
		{name: "prefetch-several-layers", note: "a file in each of three layers",
			options: with("etc/hostname", "opt/tool", "plain/first"), image: several},
		{name: "prefetch-in-two-layers", note: "files in two layers: the upper one counts, a layer without ztoc is passed over",
			options: with("shared", "usr/share/both"), image: several},
		{name: "prefetch-absent", note: "one file that no layer has", options: with("no/such/file"), image: several},
		{name: "prefetch-absent-and-present", note: "a file that no layer has beside one that a layer has",
			options: with("no/such/file", "etc/hostname"), image: several},
		{name: "prefetch-small-layer", note: "a file that only a layer without ztoc has",
			options: with("tiny/only-here"), image: several},
		{name: "prefetch-hard-link", note: "a hard link far behind its file: its own place counts",
			options: with("usr/lib/app-link"), image: several},
		{name: "prefetch-symlink", note: "a symlink: its own place counts", options: with("usr/lib/app-symlink"), image: several},
		{name: "prefetch-directory", note: "a directory, whose name in the tar ends in a slash, and so is not found",
			options: with("usr/bin/", "usr/bin", "/usr"), image: several},
		{name: "prefetch-directory-bare", note: "a directory whose name in the tar has no slash is found",
			options: with("srv"), image: several},
		{name: "prefetch-empty-file", note: "a file of no bytes", options: with("var/empty"), image: several},
		{name: "prefetch-across-checkpoints", note: "a file of several spans", options: with("usr/bin/app"), image: several},
		{name: "prefetch-adjacent", note: "neighbouring files become one range, whatever the order they are asked in",
			options: with("data/part-4", "data/part-2", "data/part-3", "data/part-4"), image: several},
		{name: "prefetch-touching", note: "one range ends where the next begins: they become one",
			options: with("shared", "opt/first"), image: several},
		{name: "prefetch-overlapping", note: "ranges inside and across each other, and one apart",
			options: with("usr/bin/app", "usr/bin/inside", "data/part-6", "data/part-5", "etc/hostname"), image: several},
		{name: "prefetch-apart", note: "two ranges in one layer", options: with("data/part-6", "etc/hostname"), image: several},
		{name: "prefetch-spellings", note: "a path is cleaned as one from the root",
			options: with("/data/part-6", "./opt//tool", "../../plain/./x/../first/"), image: several},
		{name: "prefetch-names-not-cleaned", note: "names in the tar are not cleaned: ./dot/file and /abs/file are not found",
			options: with("dot/file", "./dot/file", "abs/file", "/abs/file"), image: several},
		{name: "prefetch-no-globs", note: "no patterns, other cases or empty paths", options: with("etc/*", "ETC/hostname", "/", "."), image: several},
		{name: "prefetch-twice-in-layer", note: "two entries of one name in a layer: the first counts", options: with("twice"), image: several},
		{name: "prefetch-whiteout", note: "a file that a later layer deletes is found below", options: with("gone"), image: several},
		{name: "prefetch-whiteout-itself", note: "a whiteout is an entry as others", options: with(".wh.gone"), image: several},
		{name: "prefetch-long-name", note: "a name in a PAX record, with a comma and beyond ASCII", options: with(longName), image: several},
		{name: "prefetch-uncompressed-boundary", note: "an uncompressed layer: a file that ends where a span ends takes the next one along",
			options: with("plain/first"), image: several},
		{name: "prefetch-uncompressed-past-end", note: "the file ends with the layer, and the layer with a span: the range ends behind the last span",
			options: with("plain/last"), image: several},
		{name: "prefetch-equal-artifacts", note: "two layers with equal ranges: one blob, two descriptors",
			options: with("etc/hostname", "opt/first"), image: several},
		{name: "prefetch-layer-twice", note: "a layer that the manifest names twice: two ztocs, two artifacts, one blob of each",
			options: with("opt/tool", "etc/hostname"), image: single("amd64", upper, base, upper)},
		{name: "prefetch-docker", note: "Docker's media types, one layer uncompressed",
			options: with("opt/tool", "plain/first"), image: singleDocker(upper, plain)},
		{name: "prefetch-members", note: "a layer of several gzip members", options: with("members/3", "members/5"),
			image: single("amd64", membersLayer())},
		{name: "prefetch-all-small", note: "no layer has a ztoc", options: with("tiny/only-here"), image: single("amd64", small)},
		{name: "prefetch-platforms", note: "two platforms: a file in both at other places, one in arm64 alone",
			options: with("opt/tool", "only/arm64"), image: twoPlatforms},
		{name: "prefetch-one-platform", note: "two platforms: amd64 has none of the files",
			options: with("only/arm64"), image: twoPlatforms},
		{name: "prefetch-converted", note: "the V2 result of prefetch-platforms again, with another file",
			options: with("opt/first"), convertedFrom: "prefetch-platforms"},
		{name: "prefetch-as-layer", note: "a layer of the image has the artifact's media type: passed over since 0.13, an error before",
			options: with("opt/tool"), image: single("amd64", upper, artifactLayer())},
		{name: "docker-zstd", note: "Docker's zstd media type: a layer of an unknown compression since 0.15, an error before",
			options: with(), image: singleDocker(upper, zstdLayer())},
		{name: "xattr", note: "the optimization on layers with and without extended attributes, see golden_cases.go",
			options: withXattr(), image: xattrs},
		{name: "xattr-off", note: "the same image without the optimization", options: with(), image: xattrs},
		{name: "xattr-and-prefetch", note: "both at once",
			options: withXattr("plain-0/file", "schily-1/file"), image: xattrs},
		{name: "xattr-platforms", note: "the optimization on two platforms", options: withXattr(), image: twoPlatforms},
		{name: "xattr-uncompressed", note: "both at once on all kinds of layers",
			options: withXattr("plain/last", "usr/bin/app"), image: several},
	}
}

func with(prefetchFiles ...string) goldenOptions {
	// An empty list is written as such, not as null.
	return goldenOptions{goldenSpanSize, goldenMinLayerSize, append([]string{}, prefetchFiles...), []string{}}
}

func withXattr(prefetchFiles ...string) goldenOptions {
	options := with(prefetchFiles...)
	options.Optimizations = append(options.Optimizations, string(soci.XAttrOptimization))
	return options
}
